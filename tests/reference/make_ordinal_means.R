# Marginal means of cumulative link models on the scale of the answers: R's emmeans on clm and clmm, and an integral by hand.
#   Rscript tests/reference/make_ordinal_means.R
# Reads wine.csv and clustered.csv, writes ordinal_means.toml beside itself.
# emmeans takes an organisation at the mean (u = 0). What the population answers is integrated over u by stats::integrate here,
# at clmm's estimates: emmeans has no such mode.
suppressMessages({library(ordinal); library(emmeans)})
here <- dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE)))
out <- file(file.path(here, "ordinal_means.toml"), "w")
num <- function(x) paste0("[", paste(trimws(formatC(x, digits = 15, format = "g")), collapse = ", "), "]")
txt <- function(x) paste0("[", paste0("\"", x, "\"", collapse = ", "), "]")
put <- function(...) writeLines(paste0(...), out)
put("# Made by make_ordinal_means.R; do not edit by hand.\n\n[environment]")
put("r = \"", paste(R.version$major, R.version$minor, sep = "."), "\"")
for (p in c("ordinal", "emmeans")) put(p, " = \"", as.character(packageVersion(p)), "\"")
wine <- read.csv(file.path(here, "wine.csv"), stringsAsFactors = TRUE)
wine$rating <- factor(wine$rating, ordered = TRUE); wine$judge <- factor(wine$judge)
clustered <- read.csv(file.path(here, "clustered.csv"))
clustered$conf <- factor(clustered$conf, ordered = TRUE)
clustered$role <- factor(clustered$role, c("CEO", "CFO", "CTO", "CMO", "GC"))
clustered$stage_fn <- factor(clustered$stage_fn, c("experimenting", "piloting", "scaled"))
clustered$org_id <- factor(clustered$org_id)
tight <- clmm.control(grtol = 1e-8, maxIter = 500, useMatrix = FALSE)
exact <- clm.control(gradTol = 1e-10)
fits <- list(
  wine.clm = clm(rating ~ temp + contact, data = wine, control = exact),
  wine.clmm = clmm(rating ~ temp + contact + (1 | judge), data = wine, nAGQ = 11, control = tight),
  wine.probit = clmm(rating ~ temp + contact + (1 | judge), data = wine, link = "probit", nAGQ = 11, control = tight),
  clustered.clm = clm(conf ~ role + stage_fn, data = clustered, control = exact),
  clustered.clmm = clmm(conf ~ role + stage_fn + (1 | org_id), data = clustered, nAGQ = 11, control = tight)
)
factor_of <- function(name) if (startsWith(name, "wine")) "temp" else "role"
answer_of <- function(name) if (startsWith(name, "wine")) "rating" else "conf"
for (name in names(fits)) {
  fit <- fits[[name]]; by <- factor_of(name); answer <- answer_of(name)
  means <- emmeans(fit, reformulate(by), mode = "mean.class")
  shown <- summary(means)
  put("\n[", name, ".mean_class]\nsource = \"emmeans(fit, ~ ", by, ", mode = 'mean.class')\"")
  put("levels = ", txt(as.character(shown[[by]])), "\nestimate = ", num(shown$mean.class), "\nstd_error = ", num(shown$SE))
  pairs <- summary(contrast(means, "pairwise"), adjust = "holm")
  put("\n[", name, ".mean_class_contrast]\nsource = \"contrast(., 'pairwise'), adjust = 'holm'\"")
  put("label = ", txt(as.character(pairs$contrast)), "\nestimate = ", num(pairs$estimate), "\nstd_error = ", num(pairs$SE))
  put("p_adjusted = ", num(pairs$p.value))
  shares <- summary(emmeans(fit, as.formula(paste("~", answer, "|", by)), mode = "prob"))
  put("\n[", name, ".prob]\nsource = \"emmeans(fit, ~ ", answer, " | ", by, ", mode = 'prob')\"")
  put("levels = ", txt(as.character(shown[[by]])))
  put("estimate = ", num(shares$prob), " # answers of the first level, then of the second, ...\nstd_error = ", num(shares$SE))
  pairs <- summary(contrast(emmeans(fit, as.formula(paste("~", by, "|", answer)), mode = "prob"), "pairwise"), adjust = "holm")
  put("\n[", name, ".prob_contrast]\nsource = \"contrast(emmeans(fit, ~ ", by, " | ", answer, ", mode = 'prob'), 'pairwise'), adjust = 'holm' within answers\"")
  put("estimate = ", num(pairs$estimate), "\nstd_error = ", num(pairs$SE), "\np_adjusted = ", num(pairs$p.value))
}
# Population-averaged: sum over answers k of k times the integral over u of P(Y = k | x, u) phi(u), at clmm's estimates.
population <- function(fit, X, cdf) {
  sd <- sqrt(VarCorr(fit)[[1]][1]); cuts <- c(-Inf, fit$alpha, Inf); eta <- as.vector(X %*% fit$beta)
  share <- function(eta, k) integrate(function(u) (cdf(cuts[k + 1] - eta - sd * u) - cdf(cuts[k] - eta - sd * u)) * dnorm(u),
                                      -Inf, Inf, rel.tol = 1e-12, subdivisions = 1000)$value
  t(sapply(eta, function(e) sapply(seq_len(length(cuts) - 1), function(k) share(e, k))))
}
for (name in c("wine.clmm", "wine.probit", "clustered.clmm")) {
  fit <- fits[[name]]
  if (startsWith(name, "wine")) {
    grid <- expand.grid(contact = c("no", "yes"), temp = c("cold", "warm"))
    X <- cbind(grid$temp == "warm", grid$contact == "yes") * 1; each <- 2
  } else {
    grid <- expand.grid(stage = 1:3, role = 1:5)
    X <- cbind(sapply(2:5, function(r) grid$role == r), sapply(2:3, function(s) grid$stage == s)) * 1; each <- 3
  }
  P <- population(fit, X, if (name == "wine.probit") pnorm else plogis)
  by_level <- apply(P, 2, function(p) colMeans(matrix(p, each)))
  put("\n[", name, ".population]\nsource = \"stats::integrate over the random intercept at clmm's estimates, equal weights over the other factor\"")
  put("mean = ", num(as.vector(by_level %*% seq_len(ncol(P)))), "\nprob = ", num(as.vector(t(by_level))))
}
close(out)
