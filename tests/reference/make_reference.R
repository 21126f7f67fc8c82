# Values of reference systems for the statistical core.
#
# Run from anywhere:  Rscript tests/reference/make_reference.R
# Needs R >= 4.2 with the packages survey and multilevel (Debian: r-cran-survey r-cran-multilevel).
# Writes, beside itself: worked_example.csv, clustered.csv (data) and values.toml (values, 15 significant digits).
# R is an oracle: the package never calls it, and `make test` reads the committed files only.
#
# The data are drawn here with named generators, written to CSV with few decimals, and read back from the CSV before
# anything is computed, so that the values are a function of the committed files alone.

suppressPackageStartupMessages({
  library(survey)
  library(multilevel)
})
options(survey.lonely.psu = "fail", digits = 15, warn = 2)

here <- local({
  file <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
  if (length(file) == 1) dirname(normalizePath(file)) else getwd()
})
path <- function(name) file.path(here, name)

# ---------------------------------------------------------------------------------------------------------------- data

worked <- data.frame(
  resp_id = sprintf("w%02d", 1:12),
  role = rep(c("CTO", "CFO", "CMO"), each = 4),
  conf = c(5, 4, 5, 4, 3, 3, 4, 2, 2, 1, 2, 3)
)
write.csv(worked, path("worked_example.csv"), row.names = FALSE, quote = FALSE)

# Forty-two organisations of two to eight executives; five roles, three stages (a trait of the organisation, mostly),
# organisation effects, unequal weights. Role x stage has no empty cell, and role sizes are unequal on purpose.
set.seed(20260101, kind = "Mersenne-Twister", normal.kind = "Inversion", sample.kind = "Rejection")
roles <- c("CEO", "CFO", "CTO", "CMO", "GC")
stages <- c("experimenting", "piloting", "scaled")
sizes <- c("small", "medium", "large")
organisation <- rep(sprintf("o%02d", 1:42), times = sample(2:8, 42, replace = TRUE))
first <- match(organisation, unique(organisation))
n <- length(organisation)
size <- sample(sizes, 42, replace = TRUE, prob = c(.45, .35, .20))[first]
home <- sample(1:3, 42, replace = TRUE, prob = c(.40, .35, .25))[first]
stage <- pmin(pmax(home + sample(-1:1, n, replace = TRUE, prob = c(.15, .7, .15)), 1), 3)
role <- sample(1:5, n, replace = TRUE, prob = c(.18, .24, .26, .20, .12))
latent <- c(.2, -.3, .9, -.6, -.1)[role] + c(-.4, 0, .5)[stage] + rnorm(42, sd = .6)[first] + rnorm(n)
answer <- function(value) findInterval(value, c(-1.3, -.4, .5, 1.4)) + 1
clustered <- data.frame(
  resp_id = sprintf("r%03d", 1:n),
  org_id = organisation,
  role = roles[role],
  stage_fn = stages[stage],
  size_band = size,
  conf = answer(latent),
  prep = answer(.7 * latent - .2 + rnorm(n, sd = .8)),
  weight = round(exp(rnorm(n, sd = .4)), 4)
)
write.csv(clustered, path("clustered.csv"), row.names = FALSE, quote = FALSE)

worked <- read.csv(path("worked_example.csv"), stringsAsFactors = FALSE)
clustered <- read.csv(path("clustered.csv"), stringsAsFactors = FALSE)
clustered$role <- factor(clustered$role, levels = roles)
clustered$stage_fn <- factor(clustered$stage_fn, levels = stages)
clustered$size_band <- factor(clustered$size_band, levels = sizes)
stopifnot(all(table(clustered$role, clustered$stage_fn) > 0))

# --------------------------------------------------------------------------------------------------------------- output

lines <- character()
put <- function(...) lines <<- c(lines, paste0(...))
number <- function(x) {
  text <- vapply(x, function(v) format(v, digits = 15, scientific = abs(v) > 0 && (abs(v) < 1e-4 || abs(v) >= 1e15)), "")
  text <- trimws(text)
  whole <- !grepl("[.e]", text) & is.finite(x)
  text[whole] <- paste0(text[whole], ".0")
  text[is.infinite(x)] <- ifelse(x[is.infinite(x)] > 0, "inf", "-inf")
  text
}
numbers <- function(x) paste0("[", paste(number(x), collapse = ", "), "]")
words <- function(x) paste0("[", paste0('"', x, '"', collapse = ", "), "]")
table_of <- function(name, source) {
  put("")
  put("[", name, "]")
  put('source = "', source, '"')
}
key <- function(name, value) {
  stopifnot(!anyNA(value))
  if (is.character(value)) {
    put(name, " = ", if (length(value) == 1) paste0('"', value, '"') else words(value))
  } else if (is.integer(value)) {
    put(name, " = ", if (length(value) == 1) value else paste0("[", paste(value, collapse = ", "), "]"))
  } else if (is.matrix(value)) {
    put(name, " = [")
    for (i in seq_len(nrow(value))) put("    ", numbers(value[i, ]), ",")
    put("]")
  } else {
    put(name, " = ", if (length(value) == 1) number(value) else numbers(value))
  }
}

put("# Made by make_reference.R from worked_example.csv and clustered.csv; do not edit by hand.")
put("# Arrays run along `role` (CEO, CFO, CTO, CMO, GC), role x stage cells along `role`, `stage_fn` as listed beside them.")

put("")
put("[environment]")
key("r", paste(R.version$major, R.version$minor, sep = "."))
key("survey", as.character(packageVersion("survey")))
key("multilevel", as.character(packageVersion("multilevel")))
key("seed", 20260101L)

# ------------------------------------------------------------------------------------------- worked example, balanced

anova_of <- function(y, g) {
  fit <- summary(aov(y ~ as.factor(g)))[[1]]
  list(msb = fit[["Mean Sq"]][1], msw = fit[["Mean Sq"]][2], dfb = as.integer(fit[["Df"]][1]),
       dfw = as.integer(fit[["Df"]][2]))
}
moments <- anova_of(worked$conf, worked$role)
fit <- aov(conf ~ as.factor(role), data = worked)
means <- tapply(worked$conf, factor(worked$role, levels = c("CTO", "CFO", "CMO")), mean)
shrunken <- mean(means) + (1 - moments$msw / moments$msb) * (means - mean(means))
table_of("worked_example", "measures 2.1: stats::aov, multilevel::ICC1, multilevel::ICC2")
key("role", names(means))
key("mean", as.vector(means))
key("ms_between", moments$msb)
key("ms_within", moments$msw)
key("sd_raw", sd(means))
key("sd_corrected", sqrt((moments$msb - moments$msw) / 4))
key("icc1", as.numeric(ICC1(fit)))
key("icc2", as.numeric(ICC2(fit)))
key("shrunken", as.vector(shrunken))
key("range_raw", diff(range(means)))
key("range_shrunken", diff(range(shrunken)))

# ------------------------------------------------------------------------------------------------ agreement, unbalanced

for (by in c("role", "org_id")) {
  fit <- aov(reformulate(sprintf("as.factor(%s)", by), "conf"), data = clustered)
  moments <- anova_of(clustered$conf, clustered[[by]])
  table_of(paste0("icc.", by), "multilevel::ICC1, ICC2 (unweighted conf of clustered.csv; n = mean group size)")
  key("groups", length(unique(clustered[[by]])))
  key("ms_between", moments$msb)
  key("ms_within", moments$msw)
  key("df_between", moments$dfb)
  key("df_within", moments$dfw)
  key("icc1", as.numeric(ICC1(fit)))
  key("icc2", as.numeric(ICC2(fit)))
}

# -------------------------------------------------------------------------------------------------- design-based means

designs <- list(
  weighted = svydesign(ids = ~org_id, weights = ~weight, data = clustered),
  unweighted = svydesign(ids = ~org_id, weights = rep(1, n), data = clustered)
)
stopifnot(n == nrow(clustered))

# `domain`: the domain's own t interval, degrees of freedom = organisations that have a member of the domain - 1.
organisations_in <- function(inside) length(unique(clustered$org_id[inside]))
intervals <- function(mean, se, df) cbind(mean - qt(.975, df) * se, mean + qt(.975, df) * se)

for (name in names(designs)) {
  design <- designs[[name]]
  total <- svymean(~ conf + prep, design)
  table_of(paste0("mean.all.", name), "survey::svymean, ids = ~org_id; df = degf(design)")
  key("measure", c("conf", "prep"))
  key("mean", as.vector(coef(total)))
  key("std_error", as.vector(SE(total)))
  key("covariance", unname(matrix(vcov(total), 2)))
  key("df", as.integer(degf(design)))
  key("conf_low", as.vector(confint(total, df = degf(design))[, 1]))
  key("conf_high", as.vector(confint(total, df = degf(design))[, 2]))

  for (measure in c("conf", "prep")) {
    found <- svyby(reformulate(measure), ~role, design, svymean, covmat = TRUE)
    df <- vapply(roles, function(r) organisations_in(clustered$role == r) - 1L, 1L)
    ends <- intervals(coef(found), SE(found), df)
    table_of(paste("mean.role", name, measure, sep = "."), "survey::svyby(~role, svymean, covmat = TRUE); df = organisations in the domain - 1")
    key("role", as.character(found$role))
    key("n", as.integer(table(clustered$role)[as.character(found$role)]))
    key("n_organisations", as.integer(df + 1L))
    key("mean", as.vector(coef(found)))
    key("std_error", as.vector(SE(found)))
    key("covariance", unname(matrix(vcov(found), length(roles))))
    key("df", as.integer(df))
    key("conf_low", as.vector(ends[, 1]))
    key("conf_high", as.vector(ends[, 2]))
    contrast <- svycontrast(found, c(CTO = 1, CMO = -1))
    key("cto_minus_cmo", as.vector(coef(contrast)))
    key("cto_minus_cmo_std_error", as.vector(SE(contrast)))
  }

  found <- svyby(~conf, ~ stage_fn + role, design, svymean)
  inside <- mapply(function(r, s) organisations_in(clustered$role == r & clustered$stage_fn == s),
                   as.character(found$role), as.character(found$stage_fn))
  counts <- mapply(function(r, s) sum(clustered$role == r & clustered$stage_fn == s),
                   as.character(found$role), as.character(found$stage_fn))
  table_of(paste("mean.role_stage", name, "conf", sep = "."), "survey::svyby(~stage_fn + role, svymean)")
  key("role", as.character(found$role))
  key("stage", as.character(found$stage_fn))
  key("n", as.integer(unname(counts)))
  key("n_organisations", as.integer(unname(inside)))
  key("mean", as.vector(coef(found)))
  key("std_error", as.vector(SE(found)))

  found <- svyby(~conf, ~stage_fn, design, svymean, covmat = TRUE)
  table_of(paste("mean.stage", name, "conf", sep = "."), "survey::svyby(~stage_fn, svymean, covmat = TRUE)")
  key("stage", as.character(found$stage_fn))
  key("mean", as.vector(coef(found)))
  key("std_error", as.vector(SE(found)))
  key("covariance", unname(matrix(vcov(found), length(stages))))
}

# Delete-one-organisation jackknife: the replicate method whose every replicate is known, to check replicated cell tables.
jackknife <- as.svrepdesign(designs$weighted, type = "JK1", mse = TRUE)
found <- svyby(~conf, ~role, jackknife, svymean)
table_of("jackknife.role.weighted.conf", "survey::as.svrepdesign(type = 'JK1', mse = TRUE), svyby(~role, svymean)")
key("role", as.character(found$role))
key("replicates", ncol(jackknife$repweights$weights))
key("mean", as.vector(coef(found)))
key("std_error", as.vector(SE(found)))

# -------------------------------------------------------------------------------------------------- weights and raking

kish <- function(w) length(w) * sum(w^2) / sum(w)^2
table_of("design_effect.delivered", "Kish: n sum(w^2) / sum(w)^2, weight of clustered.csv")
key("design_effect", kish(clustered$weight))
key("n", nrow(clustered))
key("n_effective", nrow(clustered) / kish(clustered$weight))

margins <- list(
  role = data.frame(role = roles, Freq = c(.20, .20, .20, .20, .20)),
  size_band = data.frame(size_band = sizes, Freq = c(.50, .30, .20))
)
strict <- list(maxit = 10000, epsilon = 1e-13, verbose = FALSE)
for (name in names(designs)) {
  raked <- rake(designs[[name]], list(~role, ~size_band), lapply(margins, function(m) transform(m, Freq = Freq * n)),
                control = strict)
  w <- weights(raked) / mean(weights(raked))
  found <- svyby(~conf, ~role, raked, svymean)
  total <- svymean(~conf, raked)
  table_of(paste0("raking.", name), "survey::rake(list(~role, ~size_band)) to shares, epsilon 1e-13; start: the design's weights; weights scaled to mean 1, in row order")
  key("role", roles)
  key("role_target", margins$role$Freq)
  key("size_band", sizes)
  key("size_band_target", margins$size_band$Freq)
  key("role_achieved", as.vector(tapply(w, clustered$role, sum) / sum(w)))
  key("size_band_achieved", as.vector(tapply(w, clustered$size_band, sum) / sum(w)))
  key("design_effect", kish(w))
  key("n_effective", n / kish(w))
  key("mean_conf", as.vector(coef(total)))
  key("mean_conf_std_error_calibrated", as.vector(SE(total)))
  key("role_mean_conf", as.vector(coef(found)))
  key("role_mean_conf_std_error_calibrated", as.vector(SE(found)))
  key("weight", unname(w))
}

# ----------------------------------------------------------------------------------------------------------- proportions

clustered$high <- as.numeric(clustered$conf >= 4)
clustered$both <- as.numeric(clustered$conf >= 4 & clustered$prep >= 4)
for (name in names(designs)) designs[[name]] <- svydesign(
  ids = ~org_id, weights = if (name == "weighted") ~weight else rep(1, n), data = clustered)

korn_graubard <- function(design, inside, outcome) {
  domain <- design[inside, ]
  share <- svyciprop(reformulate(outcome), domain, method = "beta", level = .95, df = degf(domain))
  p <- as.vector(coef(share))
  variance <- as.vector(attr(share, "var"))
  size <- sum(inside)
  raw <- p * (1 - p) / variance
  n_eff <- raw * (qt(.025, size - 1) / qt(.025, degf(domain)))^2
  ends <- as.vector(attr(share, "ci"))
  x <- n_eff * p
  stopifnot(all.equal(ends, c(qbeta(.025, x, n_eff - x + 1), qbeta(.975, x + 1, n_eff - x)), tolerance = 1e-12))
  list(p = p, se = sqrt(variance), df = degf(domain), n = size, n_raw = raw, n_eff = n_eff, low = ends[1], high = ends[2])
}
for (name in names(designs)) {
  cells <- c(list(rep(TRUE, n)), lapply(roles, function(r) clustered$role == r))
  found <- lapply(cells, function(inside) korn_graubard(designs[[name]], inside, "high"))
  pick <- function(what) vapply(found, function(f) as.numeric(f[[what]]), 0)
  table_of(paste0("proportion.high_conf.", name), "survey::svyciprop(~I(conf >= 4), method = 'beta', df = degf(domain)): Korn & Graubard 1998")
  key("role", c("", roles))
  key("n", as.integer(pick("n")))
  key("proportion", pick("p"))
  key("std_error", pick("se"))
  key("df", as.integer(pick("df")))
  key("n_effective_raw", pick("n_raw"))
  key("n_effective", pick("n_eff"))
  key("conf_low", pick("low"))
  key("conf_high", pick("high"))

  inside <- clustered$role == "CTO" & clustered$stage_fn == "scaled"
  one <- korn_graubard(designs[[name]], inside, "both")
  table_of(paste0("proportion.high_both.", name), "as above, both conf >= 4 and prep >= 4, CTO at stage scaled")
  key("n", as.integer(one$n))
  key("n_organisations", organisations_in(inside))
  key("proportion", one$p)
  key("std_error", one$se)
  key("df", as.integer(one$df))
  key("n_effective_raw", one$n_raw)
  key("n_effective", one$n_eff)
  key("conf_low", one$low)
  key("conf_high", one$high)
}

exact <- rbind(c(3, 5), c(0, 59), c(59, 59), c(7, 10), c(1, 20), c(120, 200))
table_of("proportion.exact", "stats::binom.test (Clopper-Pearson); upper_one_sided: alternative = 'less'")
key("successes", as.integer(exact[, 1]))
key("n", as.integer(exact[, 2]))
key("conf_low", apply(exact, 1, function(e) binom.test(e[1], e[2])$conf.int[1]))
key("conf_high", apply(exact, 1, function(e) binom.test(e[1], e[2])$conf.int[2]))
key("upper_one_sided", apply(exact, 1, function(e) binom.test(e[1], e[2], alternative = "less")$conf.int[2]))

# --------------------------------------------------------------------------------------------------------- multiplicity

p <- c(.0001, .012, .0135, .04, .0499, .05, .2, .74, .012, 1)
table_of("multiplicity", "stats::p.adjust")
key("p_value", p)
for (method in c("holm", "BH", "bonferroni", "BY")) key(tolower(method), p.adjust(p, method))

# ------------------------------------------------------------------------------------------------- noncentral chi-square

grid <- expand.grid(df = c(2, 4, 9), ncp = c(0, .5, 3, 12, 40), probability = c(.025, .05, .5, .95, .975))
table_of("noncentral_chi_square", "stats::qchisq(p, df, ncp); pchisq of the quantile + 1 beside it")
key("df", grid$df)
key("ncp", grid$ncp)
key("probability", grid$probability)
key("quantile", qchisq(grid$probability, grid$df, grid$ncp))
key("cdf_at_quantile_plus_1", pchisq(qchisq(grid$probability, grid$df, grid$ncp) + 1, grid$df, grid$ncp))

# ncp_low, ncp_high: the noncentralities at which the observed statistic is the .975 and the .025 quantile (0 if none).
observed <- data.frame(q = c(3, 9.5, 20, 45, 120), df = c(9, 9, 9, 4, 2))
root <- function(q, df, probability) {
  if (pchisq(q, df) <= probability) return(0)
  uniroot(function(l) pchisq(q, df, l) - probability, c(0, 10 * q + 100), tol = 1e-13, maxiter = 10000)$root
}
table_of("noncentrality_interval", "inversion of stats::pchisq by stats::uniroot, tol 1e-13; good to about 1e-9")
key("statistic", observed$q)
key("df", observed$df)
key("ncp_low", mapply(root, observed$q, observed$df, .975))
key("ncp_high", mapply(root, observed$q, observed$df, .025))

writeLines(lines, path("values.toml"))
cat(sprintf("values.toml: %d lines, %d respondents of %d organisations\n", length(lines), n, length(unique(clustered$org_id))))
