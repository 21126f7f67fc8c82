# Reference values of the cumulative link models, from R's ordinal (and lme4 for the binary case).
#   Rscript tests/reference/make_ordinal.R
# Writes ordinal.toml beside itself, and wine.csv: the bitterness ratings of Randall (1989), as R's ordinal carries them.
suppressMessages({library(ordinal); library(lme4); library(emmeans)})
here <- dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE)))
out <- file(file.path(here, "ordinal.toml"), "w")
num <- function(x) paste0("[", paste(ifelse(is.finite(x), formatC(x, digits = 15, format = "g"), "nan"), collapse = ", "), "]")
txt <- function(x) paste0("[", paste0("\"", x, "\"", collapse = ", "), "]")
put <- function(...) writeLines(paste0(...), out)
put("# Made by make_ordinal.R; do not edit by hand.\n\n[environment]")
put("r = \"", paste(R.version$major, R.version$minor, sep = "."), "\"")
for (p in c("ordinal", "lme4", "emmeans")) put(p, " = \"", as.character(packageVersion(p)), "\"")
data(wine)
write.csv(wine[c("rating", "temp", "contact", "judge", "bottle")], file.path(here, "wine.csv"), row.names = FALSE, quote = FALSE)
clustered <- read.csv(file.path(here, "clustered.csv"))
clustered$conf <- factor(clustered$conf); clustered$role <- factor(clustered$role, c("CEO", "CFO", "CTO", "CMO", "GC"))
clustered$stage_fn <- factor(clustered$stage_fn, c("experimenting", "piloting", "scaled"))
clustered$org_id <- factor(clustered$org_id)
fixed <- function(name, fit) {
  put("\n[", name, "]\nsource = \"ordinal::clm\"")
  put("thresholds = ", num(fit$alpha)); put("coefficients = ", num(fit$beta)); put("names = ", txt(names(fit$beta)))
  put("std_error = ", num(sqrt(diag(vcov(fit))))); put("log_likelihood = ", formatC(as.numeric(logLik(fit)), digits = 15))
}
mixed <- function(name, fit, nodes) {
  put("\n[", name, "]\nsource = \"ordinal::clmm, nAGQ = ", nodes, "\"")
  put("thresholds = ", num(fit$alpha)); put("coefficients = ", num(fit$beta)); put("names = ", txt(names(fit$beta)))
  k <- length(fit$alpha) + length(fit$beta)
  put("std_error = ", num(sqrt(diag(vcov(fit)))[1:k]))
  put("sd = ", num(sapply(VarCorr(fit), function(v) sqrt(v[1]))))
  put("log_likelihood = ", formatC(as.numeric(logLik(fit)), digits = 15))
}
tight <- clmm.control(grtol = 1e-8, maxIter = 500, useMatrix = FALSE)
# clmm of this version takes "cloglog" and "loglog" the other way round from clm: fitted with the one it names the answer
# order of the other. clm and the definition F(x) = 1 - exp(-exp(x)) agree, so clmm is asked for "loglog" here.
for (link in c("logit", "probit", "cloglog")) {
  mixed_link <- if (link == "cloglog") "loglog" else link
  fixed(paste0("clm.wine.", link), clm(rating ~ temp + contact, data = wine, link = link, control = clm.control(gradTol = 1e-10)))
  mixed(paste0("clmm.wine.", link), clmm(rating ~ temp + contact + (1 | judge), data = wine, link = mixed_link, nAGQ = 11, control = tight), 11)
}
mixed("clmm.clustered.logit", clmm(conf ~ role + stage_fn + (1 | org_id), data = clustered, nAGQ = 11, control = tight), 11)
mixed("clmm.clustered.weighted", clmm(conf ~ role + stage_fn + (1 | org_id), data = clustered, weights = weight, nAGQ = 11, control = tight), 11)
mixed("clmm.wine.laplace", clmm(rating ~ temp + contact + (1 | judge), data = wine, control = tight), 1)
mixed("crossed.wine", clmm(rating ~ temp + contact + (1 | judge) + (1 | bottle), data = wine, control = tight), 1)
mixed("crossed.clustered", clmm(conf ~ stage_fn + (1 | org_id) + (1 | role), data = clustered, control = tight), 1)
fit <- clmm(rating ~ temp + contact + (1 | judge), data = wine, nAGQ = 11, control = tight)
em <- summary(emmeans(fit, ~ temp))
put("\n[emmeans.wine.temp]\nsource = \"emmeans::emmeans(clmm, ~ temp), latent scale\"\nlevels = ", txt(as.character(em$temp)),
    "\nestimate = ", num(em$emmean), "\nstd_error = ", num(em$SE))
cc <- summary(pairs(emmeans(fit, ~ temp)))
put("\n[emmeans.wine.contrast]\nsource = \"pairs(emmeans)\"\nlabel = ", txt(as.character(cc$contrast)), "\nestimate = ", num(cc$estimate), "\nstd_error = ", num(cc$SE))
big <- clmm(conf ~ role + stage_fn + (1 | org_id), data = clustered, nAGQ = 11, control = tight)
for (how in c("holm", "tukey")) {
  cc <- summary(pairs(emmeans(big, ~ role)), adjust = how)
  put("\n[contrasts.", how, "]\nsource = \"pairs(emmeans(clmm, ~ role)), adjust = '", how, "'\"\nlabel = ", txt(as.character(cc$contrast)),
      "\nestimate = ", num(cc$estimate), "\nstd_error = ", num(cc$SE), "\np_adjusted = ", num(cc$p.value))
}
clustered$high <- as.integer(as.integer(as.character(clustered$conf)) >= 4)
b <- glmer(high ~ role + stage_fn + (1 | org_id), data = clustered, family = binomial, nAGQ = 11,
           control = glmerControl(optimizer = "bobyqa", optCtrl = list(maxfun = 1e5), tolPwrss = 1e-12))
put("\n[glmer.clustered]\nsource = \"lme4::glmer, nAGQ = 11\"\nnames = ", txt(names(fixef(b))), "\ncoefficients = ", num(fixef(b)),
    "\nsd = ", num(sqrt(unlist(VarCorr(b)))), "\nstd_error = ", num(sqrt(diag(as.matrix(vcov(b))))))
close(out)
