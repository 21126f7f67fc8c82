# One fit of the benchmark's data by a peer: Rscript clmm.R DATA.csv clmm_survey|clmm_panel|tmb_survey TEMPLATE.
# Prints CPU seconds and log-likelihood.
words <- commandArgs(TRUE)
data <- read.csv(words[1])
cpu <- function() sum(proc.time()[c(1, 2, 4, 5)])
if (startsWith(words[2], "clmm")) {
  suppressMessages(library(ordinal)); for (name in names(data)) data[[name]] <- factor(data[[name]])
  formula <- if (words[2] == "clmm_survey") y ~ cell + (1 | g) else y ~ role + stage + (1 | g) + (1 | h)
  start <- cpu(); fit <- clmm(formula, data = data); took <- cpu() - start
  cat(took, as.numeric(logLik(fit)), "\n")
} else {
  data$cell <- factor(data$cell)
  suppressMessages(library(TMB)); dyn.load(dynlib(words[3]))
  X <- model.matrix(~ cell, data)[, -1]; K <- max(data$y) + 1; G <- max(data$g) + 1
  start <- cpu()
  f <- MakeADFun(list(y = as.integer(data$y), X = X, group = as.integer(data$g), K = as.integer(K)),
    list(first = -1, log_distance = rep(0, K - 2), beta = rep(0, ncol(X)), log_sd = 0, u = rep(0, G)), random = "u",
    DLL = "clmm", silent = TRUE)
  o <- nlminb(f$par, f$fn, f$gr, control = list(eval.max = 1000, iter.max = 1000)); s <- sdreport(f)
  cat(cpu() - start, -o$objective, "\n")
}
