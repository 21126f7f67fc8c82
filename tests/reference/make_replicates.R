# Values of reference systems for replicates and intervals: stratified clusters, and the acceleration of BCa.
#
# Run from anywhere:  Rscript tests/reference/make_replicates.R
# Needs R >= 4.2 with the packages survey and boot (Debian: r-cran-survey r-cran-boot).
# Reads clustered.csv and writes replicates.toml beside itself (15 significant digits).
# R is an oracle: the package never calls it, and `make test` reads the committed files only.
#
# Strata are made of organisations here: the size band of an organisation's first respondent.

suppressPackageStartupMessages({
  library(survey)
  library(boot)
})
options(survey.lonely.psu = "fail", digits = 15, warn = 2)

here <- local({
  file <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
  if (length(file) == 1) dirname(normalizePath(file)) else getwd()
})
path <- function(name) file.path(here, name)

lines <- character()
put <- function(...) lines <<- c(lines, paste0(...))
number <- function(x) {
  text <- formatC(x, digits = 15, format = "g")
  ifelse(is.integer(x) | grepl("[.e]", text), text, paste0(text, ".0"))
}
key <- function(name, values) {
  text <- if (is.character(values)) paste0('"', values, '"') else trimws(number(values))
  put(name, " = ", if (length(values) > 1) paste0("[", paste(text, collapse = ", "), "]") else text)
}
table_of <- function(name, source) {
  put("", "[", name, "]")
  key("source", source)
}

put("# Made by make_replicates.R; never edited by hand.")
key("r", R.version.string)
key("survey", as.character(packageVersion("survey")))
key("boot", as.character(packageVersion("boot")))

clustered <- read.csv(path("clustered.csv"))
clustered$stratum <- clustered$size_band[match(clustered$org_id, clustered$org_id)]
organisations <- unique(clustered[, c("org_id", "stratum")])
stratified <- svydesign(ids = ~org_id, strata = ~stratum, weights = ~weight, data = clustered)
plain <- svydesign(ids = ~org_id, weights = ~weight, data = clustered)
roles <- sort(unique(clustered$role))

table_of("strata", "organisations by stratum")
counts <- table(organisations$stratum)
key("stratum", names(counts))
key("organisations", as.integer(counts))

for (name in c("plain", "stratified")) {
  design <- get(name)
  strata <- if (name == "stratified") ", strata = ~stratum" else ""
  for (measure in c("conf", "prep")) {
    formula <- reformulate(measure)
    all <- svymean(formula, design)
    sum <- svytotal(formula, design)
    by <- svyby(formula, ~role, design, svymean)
    stopifnot(identical(as.character(by$role), roles))
    table_of(paste(name, measure, sep = "."), paste0(
      "survey::svymean, svytotal, svyby(~role, svymean), svydesign(ids = ~org_id", strata, ", weights = ~weight); df: degf"
    ))
    key("mean", as.vector(coef(all)))
    key("mean_std_error", as.vector(SE(all)))
    key("total", as.vector(coef(sum)))
    key("total_std_error", as.vector(SE(sum)))
    key("df", as.integer(degf(design)))
    key("role", roles)
    key("role_mean", as.vector(coef(by)))
    key("role_std_error", as.vector(SE(by)))
  }
}

# Acceleration: sum L^3 / (6 (sum L^2)^1.5) with L the jackknife influence values over organisations. boot takes them about the
# observed value; they are centred here, about the mean of the jackknife values, as in Efron (1987).
centred <- function(L) L - mean(L)
frame <- do.call(rbind, lapply(split(clustered, clustered$org_id), function(d) {
  data.frame(n = sum(d$weight * d$conf), d = sum(d$weight))
}))
ratio <- function(data, index) sum(data$n[index]) / sum(data$d[index])
L <- centred(empinf(data = frame, statistic = ratio, type = "jack", stype = "i"))
table_of("acceleration", "boot::empinf(type = 'jack') of the weighted mean of conf over organisations, centred; sum L^3 / (6 (sum L^2)^1.5)")
key("conf", sum(L^3) / (6 * sum(L^2)^1.5))
values <- c(1, 2, 6, 3, 3, 11, 2.5)
L <- centred(empinf(data = values, statistic = function(x, i) mean(x[i])^2, type = "jack", stype = "i"))
key("squared_mean_of", values)
key("squared_mean", sum(L^3) / (6 * sum(L^2)^1.5))

# Ratio of two totals with the delete-one-organisation jackknife about the estimate, one stratum and several.
for (name in c("plain", "stratified")) {
  type <- if (name == "stratified") "JKn" else "JK1"
  jackknife <- as.svrepdesign(get(name), type = type, mse = TRUE)
  found <- svyratio(~conf, ~prep, jackknife)
  table_of(paste("jackknife_ratio", name, sep = "."), sprintf(
    "survey::as.svrepdesign(type = '%s', mse = TRUE), svyratio(~conf, ~prep)", type
  ))
  key("ratio", as.vector(coef(found)))
  key("std_error", as.vector(SE(found)))
}

writeLines(lines, path("replicates.toml"))
cat(sprintf("replicates.toml: %d lines\n", length(lines)))
