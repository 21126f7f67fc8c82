# A nested panel, and reference values of cumulative link models with several random intercepts (R's ordinal::clmm).
#   Rscript tests/reference/make_panel.R
# Writes panel.csv (drawn here with a named generator) and panel.toml beside itself; about two minutes.
suppressMessages(library(ordinal))
here <- dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE)))
path <- function(name) file.path(here, name)
set.seed(20260315, kind = "Mersenne-Twister", normal.kind = "Inversion", sample.kind = "Rejection")
# Forty organisations of two to six executives, asked in up to three waves about two of four topics each.
people <- rep(1:40, times = sample(2:6, 40, replace = TRUE))
n <- length(people)
panel <- expand.grid(wave = 1:3, resp = seq_len(n))
panel$org <- people[panel$resp]
panel <- panel[runif(nrow(panel)) < .85, ]
role <- sample(c("CEO", "CFO", "CTO"), n, replace = TRUE)
panel$role <- role[panel$resp]
panel$topic <- sample(c("cost", "data", "law", "skill"), nrow(panel), replace = TRUE)
stage <- sample(1:3, 40, replace = TRUE)
panel$stage <- c("experimenting", "piloting", "scaled")[stage[panel$org]]
latent <- c(CEO = 0, CFO = -.7, CTO = .8)[panel$role] + .4 * (stage[panel$org] - 2) + .3 * (panel$wave - 2) +
  rnorm(40, sd = .9)[panel$org] + rnorm(n, sd = 1.2)[panel$resp] +
  c(cost = -.5, data = .4, law = -.3, skill = .6)[panel$topic] + rlogis(nrow(panel))
panel$conf <- findInterval(latent, c(-2, -.5, .8, 2.2)) + 1
panel$weight <- round(exp(rnorm(nrow(panel), sd = .4)), 3)
panel$org <- sprintf("o%02d", panel$org); panel$resp <- sprintf("p%03d", panel$resp)
write.csv(panel[c("org", "resp", "wave", "role", "stage", "topic", "conf", "weight")], path("panel.csv"), row.names = FALSE, quote = FALSE)
panel <- read.csv(path("panel.csv"), stringsAsFactors = TRUE)
panel$conf <- factor(panel$conf, ordered = TRUE)
out <- file(path("panel.toml"), "w")
num <- function(x) paste0("[", paste(trimws(formatC(x, digits = 15, format = "g")), collapse = ", "), "]")
txt <- function(x) paste0("[", paste0("\"", x, "\"", collapse = ", "), "]")
put <- function(...) writeLines(paste0(...), out)
put("# Made by make_panel.R; do not edit by hand.\n\n[environment]")
put("r = \"", paste(R.version$major, R.version$minor, sep = "."), "\"\nordinal = \"", as.character(packageVersion("ordinal")), "\"")
tight <- clmm.control(grtol = 1e-8, maxIter = 500, useMatrix = FALSE)
report <- function(name, formula, ...) {
  fit <- do.call(clmm, list(formula, data = panel, control = tight, ...))
  put("\n[", name, "]\nsource = \"ordinal::clmm, Laplace: ", paste(deparse(formula, width.cutoff = 200), collapse = ""), "\"")
  k <- length(fit$alpha) + length(fit$beta)
  put("names = ", txt(c(names(fit$alpha), names(fit$beta))), "\nestimate = ", num(c(fit$alpha, fit$beta)))
  put("std_error = ", num(sqrt(diag(vcov(fit)))[1:k]))
  put("groupings = ", txt(names(VarCorr(fit))), "\nsd = ", num(sapply(VarCorr(fit), function(v) sqrt(v[1]))))
  put("log_likelihood = ", formatC(as.numeric(logLik(fit)), digits = 15))
  put("max_gradient = ", formatC(max(abs(fit$gradient)), digits = 3))
  effects <- ranef(fit)
  for (g in names(effects)) put("mode_", g, " = ", num(effects[[g]][, 1]))
}
report("nested", conf ~ role + stage + wave + (1 | org) + (1 | resp))
report("nested_weighted", conf ~ role + stage + wave + (1 | org) + (1 | resp), weights = panel$weight)
report("nested_probit", conf ~ role + stage + wave + (1 | org) + (1 | resp), link = "probit")
report("nested_and_crossed", conf ~ role + wave + (1 | org) + (1 | resp) + (1 | topic))
report("crossed", conf ~ role + wave + (1 | topic) + (1 | org))
close(out)
