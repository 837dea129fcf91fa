"""One of each step rule for Gaussian noise, for the laws that all of them keep."""

from diffjax import steps

DETERMINISTIC = {
    "ddim": steps.ddim(),
    "euler": steps.euler(),
    "heun": steps.heun(),
    "midpoint": steps.midpoint(),
    "dpmpp_2s": steps.dpmpp_2s(),
    "rk4": steps.rk4(),
    "dpmpp_2m": steps.dpmpp_2m(),
    "adams": steps.adams(4),
    "dpmpp_3m": steps.dpmpp_3m(),
    "deis": steps.deis(3),
    "unipc": steps.unipc(3, "bh1"),
    "adams_rk4": steps.adams(4, start=steps.rk4()),
    "unipc_midpoint": steps.unipc(2, start=steps.midpoint()),
    "pndm": steps.pndm(),
    "pndm_runge_kutta": steps.pndm(runge_kutta=True),
    "clipped_unipc": steps.clipped(steps.unipc(), 2.0),
}
STOCHASTIC = {
    "posterior": steps.posterior(),
    "posterior_upper": steps.posterior(upper_variance=True),
    "ddim_half": steps.ddim(0.5),
    "dpmpp_2m_sde": steps.dpmpp_2m_sde(),
    "edm_stochastic": steps.edm_stochastic(),
    "euler_maruyama": steps.euler_maruyama(),
}
