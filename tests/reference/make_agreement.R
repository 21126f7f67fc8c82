# Values of reference systems for agreement, concordance, consensus and ranks.
#
# Run from anywhere:  Rscript tests/reference/make_agreement.R
# Needs R >= 4.2 with the packages multilevel and vegan (Debian: r-cran-multilevel r-cran-vegan).
# Reads clustered.csv (made by make_reference.R) and writes agreement.toml beside itself (15 significant digits).
# R is an oracle: the package never calls it. Where Debian's R has no package for an index (A, consensus, D, kappa, AC1,
# alpha), the value is worked here answer by answer or triple by triple from the definition, which is another way than the
# package's own; the published examples of R's agrmt and irrCAC stand in the tests beside them.

suppressPackageStartupMessages({
  library(multilevel)
  library(vegan)
})
options(digits = 15)

here <- local({
  file <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
  if (length(file) == 1) dirname(normalizePath(file)) else getwd()
})
path <- function(name) file.path(here, name)

lines <- character()
put <- function(...) lines <<- c(lines, paste0(...))
number <- function(x) {
  text <- trimws(vapply(x, function(v) format(v, digits = 15, scientific = abs(v) > 0 && abs(v) < 1e-4), ""))
  text[is.na(x)] <- "nan"
  whole <- !grepl("[.e]", text) & is.finite(x)
  text[whole] <- paste0(text[whole], ".0")
  text
}
numbers <- function(x) paste0("[", paste(number(x), collapse = ", "), "]")
section <- function(name, source) put("\n[", name, "]\nsource = \"", source, "\"")
key <- function(name, value) {
  if (is.character(value)) put(name, " = ", if (length(value) == 1) paste0('"', value, '"') else paste0("[", paste0('"', value, '"', collapse = ", "), "]"))
  else if (is.matrix(value)) put(name, " = [\n", paste0("    ", apply(value, 1, numbers), ",", collapse = "\n"), "\n]")
  else put(name, " = ", if (length(value) == 1) number(value) else numbers(value))
}

put("# Made by make_agreement.R from clustered.csv; do not edit by hand. Arrays run along `organisation` where it stands.")
put("\n[environment]")
key("r", paste(R.version$major, R.version$minor, sep = "."))
for (package in c("multilevel", "vegan")) key(package, as.character(packageVersion(package)))

# --------------------------------------------------------------------------------------------- teams of clustered.csv

clustered <- read.csv(path("clustered.csv"), stringsAsFactors = FALSE)
organisation <- sort(unique(clustered$org_id))
by <- function(frame, column) frame[match(organisation, as.character(frame$grpid)), column]
team <- clustered$org_id
items <- clustered[, c("conf", "prep")]

section("teams", "multilevel::rwg (ranvar 2 and 1.34; cut at 0), awg, ad.m, rwg.j (cut at 0) of conf, and of conf and prep")
key("organisation", organisation)
key("r_wg", by(rwg(clustered$conf, team, ranvar = 2), "rwg"))
key("r_wg_slight_skew", by(rwg(clustered$conf, team, ranvar = 1.34), "rwg"))
key("a_wg", by(awg(clustered$conf, team, range = c(1, 5)), "a.wg"))
key("ad_mean", by(ad.m(clustered$conf, team, type = "mean"), "AD.M"))
key("ad_median", by(ad.m(clustered$conf, team, type = "median"), "AD.M"))
key("r_wg_j", by(rwg.j(items, team, ranvar = 2), "rwg.j"))

triples <- function(pattern) {
  K <- length(pattern)
  tu <- tdu <- 0
  for (i in 1:(K - 2)) for (j in (i + 1):(K - 1)) for (k in (j + 1):K) {
    seen <- paste(pattern[c(i, j, k)], collapse = "")
    tu <- tu + (seen %in% c("110", "011"))
    tdu <- tdu + (seen == "101")
  }
  U <- if (tu + tdu == 0) 1 else ((K - 2) * tu - (K - 1) * tdu) / ((K - 2) * (tu + tdu))
  U * (1 - (sum(pattern) - 1) / (K - 1))
}
eijk <- function(v) {
  n <- sum(v)
  a <- 0
  while (sum(v) > 0) {
    layer <- min(v[v > 0])
    pattern <- as.integer(v > 0)
    a <- a + triples(pattern) * layer * sum(pattern) / n
    v <- v - layer * pattern
  }
  a
}
tastle <- function(x, K) 1 + mean(log2(1 - abs(x - mean(x)) / (K - 1)))
leik <- function(x, K) 2 * sum(vapply(1:(K - 1), function(k) min(mean(x <= k), mean(x > k)), 0)) / (K - 1)
answers <- lapply(organisation, function(o) clustered$conf[team == o])
section("teams_ordinal", "by definition in this script: van der Eijk layer by layer and triple by triple; Tastle and Wierman, Leik answer by answer")
key("organisation", organisation)
key("van_der_eijk_a", vapply(answers, function(x) eijk(as.numeric(table(factor(x, 1:5)))), 0))
key("tastle_wierman", vapply(answers, tastle, 0, K = 5))
key("leik_d", vapply(answers, leik, 0, K = 5))

anova <- summary(aov(conf ~ as.factor(org_id), data = clustered))[[1]][["Mean Sq"]]
sizes <- table(team)
n0 <- (sum(sizes) - sum(sizes^2) / sum(sizes)) / (length(sizes) - 1)
section("intraclass", "stats::aov of conf by org_id; ICC(1) with n0 = (N - sum n^2 / N) / (G - 1)")
key("icc1", (anova[1] - anova[2]) / (anova[1] + (n0 - 1) * anova[2]))
key("icc2", 1 - anova[2] / anova[1])

# ---------------------------------------------------------------------------------------------------------- rankings

set.seed(20260101, kind = "Mersenne-Twister", normal.kind = "Inversion", sample.kind = "Rejection")
untied <- t(replicate(9, order(1:7 + rnorm(7, sd = 3))))
tied <- t(replicate(8, round(pmin(pmax(3 + c(-1, -.5, 0, 0, .5, 1) + rnorm(6), 1), 5))))
for (name in c("untied", "tied")) {
  x <- get(name)
  found <- kendall.global(t(x), nperm = 9)
  rho <- cor(t(x), method = "spearman")
  section(paste0("rankings.", name), "vegan::kendall.global (W corrected for ties); stats::cor(method = 'spearman'), mean over pairs; stats::friedman.test / (m (n - 1))")
  key("ratings", x)
  key("w_ties", found$Concordance_analysis["W", 1])
  key("w_friedman", as.vector(friedman.test(x)$statistic) / (nrow(x) * (ncol(x) - 1)))
  key("mean_spearman", mean(rho[upper.tri(rho)]))
}

unit <- t(scale(t(tied)))
unit <- unit / sqrt(rowSums(unit^2))
group <- c("CFO", "CFO", "CFO", "CTO", "CTO", "CTO", "CTO", "CEO")
prototype <- t(vapply(c("CEO", "CFO", "CTO"), function(g) colMeans(unit[group == g, , drop = FALSE]), numeric(6)))
axes <- svd(unit)
section("strategic_consensus", "base R: scale, colMeans, cor of prototypes, svd; ratings of rankings.tied")
key("group", group)
key("alpha", unname(sqrt(rowSums(prototype^2))))
key("between", unname(cor(t(prototype))))
key("variance_kept", (axes$d^2 / sum(axes$d^2))[1:2])
key("distance_kept", as.vector(dist(prototype %*% axes$v[, 1:2])))

# ------------------------------------------------------------------------------------------------------ nominal, units

owner <- lapply(sample(2:6, 20, replace = TRUE), function(n) sample(1:4, n, replace = TRUE, prob = c(.5, .25, .15, .1)))
pairs_agree <- function(x) { same <- outer(x, x, "=="); mean(same[upper.tri(same)]) }
share <- rowMeans(vapply(owner, function(x) as.numeric(table(factor(x, 1:4))) / length(x), numeric(4)))
observed <- mean(vapply(owner, pairs_agree, 0))
kappa <- function(expected) (observed - expected) / (1 - expected)
pool <- unlist(owner)
n_c <- table(factor(pool, 1:4))
ordinal <- function(a, b) { low <- min(a, b); high <- max(a, b); (sum(n_c[low:high]) - (n_c[a] + n_c[b]) / 2)^2 }
distance <- list(nominal = function(a, b) as.numeric(a != b), ordinal = ordinal, interval = function(a, b) (a - b)^2)
disagreement <- function(x, d) { total <- 0; for (i in seq_along(x)) for (j in seq_along(x)) if (i != j) total <- total + d(x[i], x[j]); total }
alpha <- function(d) {
  within <- sum(vapply(owner, function(x) disagreement(x, d) / (length(x) - 1), 0)) / length(pool)
  1 - within / (disagreement(pool, d) / (length(pool) * (length(pool) - 1)))
}
section("nominal", "by definition in this script, pair by pair of answers; 20 units of 2 to 6 raters")
key("counts", t(vapply(owner, function(x) as.numeric(table(factor(x, 1:4))), numeric(4))))
key("pair_agreement", vapply(owner, pairs_agree, 0))
key("fleiss_kappa", kappa(sum(share^2)))
key("gwet_ac1", kappa(sum(share * (1 - share)) / 3))
for (metric in names(distance)) key(paste0("alpha_", metric), as.vector(alpha(distance[[metric]])))

# -------------------------------------------------------------------------------------------------------------- ranks

section("ranks", "stats::qtukey(.95, groups, Inf) / sqrt(2): largest studentised difference of equal, independent standard errors")
key("groups", c(3, 4, 10))
key("critical", qtukey(.95, c(3, 4, 10), Inf) / sqrt(2))
key("bonferroni", qnorm(1 - .05 / (c(3, 4, 10) * c(2, 3, 9))))

writeLines(lines, path("agreement.toml"))
cat(sprintf("agreement.toml: %d organisations\n", length(organisation)))
