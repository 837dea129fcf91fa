"""What docs/posteriors.md says around its tables."""

HEAD = """# Given what was seen: every method against the exact law

Written by `python benchmarks/posteriors.py`, whose figures are beside it in `posteriors_figures.json`. An observation
is y = H x + noise, told in an orthonormal basis: coordinates z = Vᵀx, of which some were seen, up to noise of a
deviation that is 0 where they are exact (`dj.edit.inpaint`, `downsampled`, `grey`, `blurred`, `observed`). What is to
be drawn is x0 given all that. Here the data are normal laws and mixtures of them, so the law of x0 given what was
seen is known, and so is the denoiser: nothing is learned, and all that is wrong is the method's own.
`dj.lab.posteriors` measures any other method in the same way.

## The methods
"""

METHODS = {
    "clamp": (
        "Chen et al. 2024; tokens: Austin et al. 2021",
        "1",
        "pixels and tokens, any order, any rule; with noise by the posterior",
        "nothing but the steps; a net of per-position levels, trained on mixed ones, is needed",
    ),
    "twisted": (
        "Wu et al. 2023, TDS, algorithm 1",
        "as many as particles, with a pass back",
        "all observations; the posterior",
        "nothing but the steps, as particles grow in number",
    ),
    "repaint": (
        "Lugmayr et al. 2022, algorithm 1",
        "about `resamples`",
        "exact observations; rules that do not plan ahead",
        "as replacement, less with each resampling; too little spread",
    ),
    "pigdm": (
        "Song et al. 2023, ΠGDM, eq. 7",
        "1, with a pass back",
        "all observations, any rule of one level",
        "takes x0 given x_t for white; between modes it does not choose by their weight",
    ),
    "ddrm": (
        "Kawar et al. 2022, eq. 7 and 8",
        "1",
        "all observations; its own rule",
        "what was seen is told to x_t, and the prediction alone carries it on; too little spread",
    ),
    "ddnm": (
        "Wang et al. 2023, algorithm 1, DDNM+",
        "1",
        "all observations; any rule where they are exact",
        "much as replacement: drawn as if less had been seen",
    ),
    "dps": (
        "Chung et al. 2023, algorithm 1",
        "1, with a pass back",
        "all observations, rules of one evaluation",
        "neither scale nor steps make it exact: a scale for each task",
    ),
    "replacement": (
        "Song et al. 2021, appendix I.2",
        "1",
        "exact observations, any rule; `hook=` of `dj.sample`",
        "drawn as if less had been seen: 0.50 where 0.80 is right (two numbers of correlation 0.8, one of them 1)",
    ),
}

TABLES = """
`scale` of dps, `eta` and `eta_b` of ddrm, `resamples` and `jump` of repaint are arguments; in the tables they are as
usual, 10 and 10 for repaint. In another basis every method but clamp serves.

## How near the draws are

200 even steps under the cosine schedule, 1,000 draws for each of four observations of exact draws. *Mean*: its bias
over the unknown coordinates, root mean square, in deviations of the exact law. *Cov.*: the error of the covariance,
over the exact one (Frobenius). *Sliced*: the mean distance of sorted draws along random lines to those of the exact
law, in deviations. *90 %*: what the exact law has in the central 90 % interval of the draws. All are means over the
four. A number in **bold** is of a method none of whose numbers is beyond those that 99.9 % of a thousand sets of as
many exact draws have, last row. `twisted` are draws from 16 or 64 filters of 1,024 particles for each observation, as
the table of particles says: draws of one filter share ancestors, so with 16 they scatter more than the exact ones.
Intervals that are narrow by a hundredth are what 200 steps of the posterior leave: in the one problem where clamp is
beyond, three modes, mask, 16 numbers, its 0.890 is 0.893 in 800 steps, within. Of `twisted` with 64 filters one number
is beyond, 0.884 for 0.9 in three modes, block means, 4 numbers.

The normal law has variances 1 and a correlation of 0.8 between neighbours. The mixture has three modes, two of which
the first half of the numbers cannot tell apart. *Mask*: the first half is known. *Block means*: those of two numbers,
of two by two of a picture of 2 by 2, and of 4 by 4.
"""

WHICH = """
![two unknown numbers of four](pictures/posteriors_modes.png)

Two of four numbers are known to be 1; there remain two modes, of weight 4 to 3. Every method finds both, and makes a
picture that looks right. How much of each there is and how wide it is, differs: `ddrm` and `repaint` are too narrow,
and the shares of the others are off by as much as the tables have in the mean.

## Which to use when
"""

END = """
* **A net of per-position levels** (taught by `regression(given=0.8)`; of tokens any bidirectional
  net): `clamp`. It is exact, any rule and any few steps serve, and it costs nothing.
* **One level for all, and the law itself matters** (intervals, averages of draws): `twisted`, with as many particles
  as there is room for; look at `dj.edit.particles(…).effective_sample_size`. Where few of very many are effective near
  the end, take more steps there before more particles.
* **One level for all, and pictures are wanted:** `pigdm` where one picture is likely, and `repaint` where several
  are, at ten times the cost. `ddrm` where there is no time for a pass back: next to it in bias, too narrow in spread.
* **Noise on what was seen:** `clamp` on pixels, `twisted`, `pigdm` or `ddrm`.
* **`ddnm`, `dps` and `replacement`** are here since others compare with them. They are as far off as in the tables
  with an exact denoiser, so no better net makes them right.
* **Always:** what is known exactly is so in the result, bit for bit where it is pixels or tokens. A known part that
  looks right says nothing of the rest.
"""
