"""The words of docs/guidance.md."""

SIGNS = ("mean", "deviation", "kept", "modes")
HEAD = """# Guidance

Written by `python benchmarks/guidance.py`; every number is measured by `dj.lab.guidance_report`, which takes any
guidance (docs/extending.md). Denoisers are exact: all that is wrong below is the guidance's own.

A guided denoiser is **a pair of predictions, a scale and a rule**. The pair is `without` something (u) and `given` it
(c), the scale w says how much the second counts, the rule makes one prediction of the two. 1 is neutral, 0 is
`without`, and above 1 the prediction goes beyond `given`, away from `without`.

```python
guided = dj.guidance.cfg(denoise, 2.0, null)  # (1 - w) u + w c
guided = dj.guidance.cfg(denoise, dj.guidance.interval(4.0, 0.2, 0.7), null)  # when
guided = dj.guidance.cfg(denoise, 4.0, null, rule=dj.guidance.rescaled(0.7))  # how
guided = dj.guidance.cfg(denoise, 2.0, not_this)  # a negative prompt
guided = dj.guidance.several(denoise, {"image": 1.5, "text": 7.5}, null)  # each part by itself
guided = dj.guidance.autoguidance(denoise, weak, 2.0)  # away from a worse model
x = dj.sample(keys, noise, order, guided, shape, cond=cond)
```

`null` is the condition that says nothing, without the batch axis; another condition in its place is a negative prompt,
which is led away from. Both halves are one call of the net on twice the batch, `calls=2` are two calls of the batch.
Scales are numbers, arrays (one for each example, or for each position) or functions of t. Guidance maps denoisers to
denoisers, so it goes inside any step rule, any order, and inside other guidance. On tokens `linear` is the same
formula on logits, and tilts the law of each token given what is visible exactly; what that makes of the whole, under
each order, is in [compare_exact.md](compare_exact.md). A token that is impossible given the condition stays so.

## The law that guidance is named after

If u and c are the predictions of p(x) and p(x|c), then (1 - w) u + w c is, with almost no noise left, the score of

    p(x|c)^w p(x)^(1-w)  ∝  p(x|c) (p(c|x)/p(c))^(w-1),

the *tilted law*: the class, with more weight on what is typical of it alone. With noise left it is the score of nothing
in particular, for the powers of two laws, each with noise, are not the tilted law with noise. (They are where both laws
are normal with one covariance. Then guidance samples the tilted law exactly; tests/test_guidance_laws.py has that and
the other cases that can be solved.)

So: two classes on a line, as likely as each other. The one that is asked for has three modes, the other comes near to
two of them. `cfg` under flow, even steps from t = 1 to 0, 2,000 draws. **mean**: bias to the tilted law, in deviations
of the class. **deviation**: over that of the tilted law. **kept**: the deviation over that of the class. **modes**: how
much of the three modes is there, Σ min(share drawn, share of the class), *of* what the tilted law has. **to tilted**:
Wasserstein distance to the tilted law, in deviations of the class. The first four are of 160 steps.
"""
TILTED = """
![Densities drawn at three scales, over the tilted law](pictures/guidance_tilted.png)

![Distance to the tilted law against the scale](pictures/guidance_steps.png)

**Nobody samples the tilted law.** At w = 1 the draws are the class, and the finer the steps the nearer. Above 1 they
go too far: the mean is carried beyond that of the tilted law, less is left of the spread, and the modes that others
share vanish sooner than they should. More steps change nothing, since it is the ODE itself that leads elsewhere. An
SDE (`posterior`) leads to yet another law, which at large w is nearer, because fresh noise forgives what was pushed
too far; its modes are as few. (Bradley & Nakkiran 2024 derive why ddim and ancestral sampling differ under guidance,
and that neither draws from the tilted law.) A scale is a dial, not the exponent of a law.

## What each guidance does

Now pictures of four numbers, x = z (1, -1, 1, -1) + b (1, 1, -1, -1) + grain: z has the class's law on the line, b is
what every picture has and no class speaks of, N(1, 0.3²). Rules that look at whole pictures find something to look at,
and what guidance should leave alone can be seen. **to class**: distance of z to p(x|c) itself. **aside**: distance of b
to its own law, in its deviations; chance and steps leave about 0.04. All are of 40 even steps
of ddim under flow, but for the column of 10.

    linear                   x0 = (1 - w) u + w c                                      Ho & Salimans 2022
    interval(w, low, high)   w where low <= t <= high, 1 outside                       Kynkäänniemi et al. 2024
    rescaled(phi)            x0 (1 - phi + phi std(c)/std(x0)),  x0 linear             Lin et al. 2024
    thresholded(p, limit)    clip(x0, -s, s) limit/s,  s = max(p % of |x0|, limit)     Saharia et al. 2022
    apg(eta, norm)           c + (w - 1)(across + eta along),  of D = c - u, cut       Sadat et al. 2024
                             to length norm, along and across c
    momentum(step, w, beta)  D = c - u + beta D of the step before                     Sadat et al. 2024
    zero_star(noise, share)  v = (1 - w) s v(u) + w v(c),  s = v(c)·v(u)/|v(u)|²,      Fan et al. 2025
                             v = 0 in the first share of the way
"""
EVERY = """
![z and b of what each guidance draws](pictures/guidance_every.png)

![Modes kept against the distance to the class, one line for each guidance](pictures/guidance_trade.png)

* The same w means something else under each. Compare at the same distance to the class: then all lie on one curve, that
  of the tilted laws, but for overshoot at large w. On this data a rule does not buy more variety for the same effect; a
  smaller w does what it does. What differs is where a large w ends, and what happens aside.
* `interval` leaves out the first, noisiest part, in which the mode is chosen: at w = 4 more than twice as much of the
  deviation is kept as under `cfg`, and it stays the nearest to the tilted law. Guidance at high noise is what costs
  variety.
* `rescaled` holds z back and pays aside: the whole picture is made smaller, b with it. `apg` does so too, since what
  lies across the prediction is not what lies across b. Both are made against contrast that grows with w in large
  pictures, of which four numbers have little.
* `thresholded` does nothing until predictions leave the data's range, and then cuts: the straight edge in its pane is
  where |z| + |b| = 2.5. It repairs, and leads nowhere. (It is the one rule that is not neutral at w = 1 where
  predictions are beyond `limit`.)
* `momentum` of beta = -0.5 adds up to D/(1 - beta) in the long run, two thirds of it: much of what it does is a smaller
  w. Early on, where nothing is remembered yet, it is the full one.
* `zero_star` needs the fewest steps, for its s makes the most of both velocities where they are nearly parallel, at
  high noise, and little is left of guidance there: as in an interval.

## CFG++

A step of CFG++ (Chung et al. 2024) from t to s takes x0 from the mixture and eps from nothing alone:

    x_s = alpha_s (u + λ (c - u)) + (sigma_s/sigma_t)(x_t - alpha_t u).

Collect c - u: it is a step of ddim under `cfg` with w = λ/(1 - rho), rho = alpha_t sigma_s/(alpha_s sigma_t), which is
what `plus_plus(λ, noise, grid)` says for each stop of the grid. At the first step and the last w = λ; in between it
grows as steps get shorter. On the line, the w whose tilted law is nearest to what is drawn (up to 8):
"""
PLUS = """
So a strength belongs to a number of steps: the same λ that is a mild guidance in 10 steps leaves next to nothing of the
class's spread in 160. The paper's strengths are for about 50. In few steps small λ is *less* than no guidance,
since w = λ < 1 at both ends.

## Models that err

Nets are not exact. Here the model smears every mode to 1.4 of its deviation, and guidance is asked for the class
itself, not for anything beyond: 40 steps of ddim on the line. `weak`, for autoguidance (Karras et al. 2024), smears to
2.0: a model that errs in the same way, and more. w = 1 is the model as it is.
"""
MODELS = """
`cfg` drops two of the modes on its way. Autoguidance sharpens all of them where they are: what it leads away from is
the error alone, and it comes nearer to the data than the model does, which guidance by a condition is not made for.
Too large a w overshoots here, too. (Where all is normal, with variances 1 of the data, v of the model and
v' of the weak one, the right w is log v'/(log v' - log v).)

`perturbed_attention(denoise, w, blocks)` (Ahn et al. 2024) is autoguidance whose weak model costs no training: the same
net with attention in some blocks replaced by the identity. It needs no condition. What it leads to depends on the net,
so there is no exact answer to hold it against.

## Several conditions at once

Of a condition that is a dict of K parts, one call of K + 1 times the batch gives all predictions.

    several    d_0 + Σ_k w_k (d_k - d_(k-1)),      d_k given the first k parts    Brooks et al. 2023, eq. 3
    composed   d_0 + Σ_k w_k (d(part k) - d_0)     each part alone                Liu et al. 2022

`several` is a chain, in the order of the mapping: each part is weighed given those before it. With all scales 1 it is
the model given all parts, bit for bit: 1 is neutral, as everywhere. `composed` treats all parts alike, and with all
scales 1 it is *not* the model given all of them: it multiplies each part's evidence as if the others were not there,
p(x) Π_k p(part k|x), and so counts twice what two parts both say. It serves to join what was never seen together, and a
negative scale says *not this*. Parts without a scale are given in every prediction.

## What it costs

A guided step is a step of twice the batch and a few sums. Both in turns, in processor time, DiT of width 96 and depth 3
on 8 by 8 pixels, 16 examples. `calls=2` holds half as much in memory at a time. Outside an interval the half that says
nothing is not computed, unless the net remembers its calls (`decode`, `nested`).
"""
END = """
## Which to use when

* **One condition, a trained model:** `cfg`, w between 1.5 and 3. Less variety is what it costs, always.
* **A large w without the loss of variety:** `interval`, off at high noise. The level at which modes are decided is the
  one to begin below; `dj.lab.guidance_report` and a few samples find it.
* **Colours too strong, contrast too high at large w:** `rescaled(0.7)`, or `apg()`; where predictions leave the range
  of the data, `thresholded`.
* **Flow matching, few steps, a net not trained to the end:** `zero_star(noise)`.
* **ddim, a fixed number of steps, inversion and editing:** `plus_plus`, its strength found for that number.
* **A worse checkpoint at hand:** `autoguidance`, for quality without less variety; the two may be combined, since a
  guided denoiser is a denoiser.
* **No condition at all:** `autoguidance` or `perturbed_attention`.
* **Two conditions, one within the other (a picture and an instruction):** `several`. **Two things never seen
  together:** `composed`. **Not this:** its condition as `null`.
* **Tokens:** `cfg`, `several`, `composed`, `autoguidance`, `perturbed_attention` and `interval`, all on logits; the
  other rules refuse them.
"""
DIGITS = "\n## On digits\n"
