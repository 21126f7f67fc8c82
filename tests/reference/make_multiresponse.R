# Values of reference systems for multi-select answers.
#
# Run from anywhere:  Rscript tests/reference/make_multiresponse.R
# Needs R >= 4.2 with the package survey (Debian: r-cran-survey).
# Writes, beside itself: multiresponse.csv (data) and multiresponse.toml (values, 15 significant digits).
# R is an oracle: the package never calls it, and `make test` reads the committed files only.

suppressPackageStartupMessages(library(survey))
options(survey.lonely.psu = "fail", digits = 15, warn = 1)

here <- local({
  file <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
  if (length(file) == 1) dirname(normalizePath(file)) else getwd()
})
path <- function(name) file.path(here, name)

# ---------------------------------------------------------------------------------------------------------------- data

# Forty-eight organisations of two to seven executives in three size bands (strata); four roles; stage is a trait of the
# organisation. Six blockers with an organisation effect each; `talent` is put to all but the GC; weights unequal.
set.seed(20260102, kind = "Mersenne-Twister", normal.kind = "Inversion", sample.kind = "Rejection")
roles <- c("CFO", "CMO", "CTO", "GC")
organisation <- rep(sprintf("o%02d", 1:48), times = sample(2:7, 48, replace = TRUE))
first <- match(organisation, unique(organisation))
first <- match(first, unique(first))
n <- length(organisation)
role <- sample(1:4, n, replace = TRUE, prob = c(.3, .25, .3, .15))
items <- c("roi", "integr", "secur", "talent", "reg", "culture")
odds <- rbind(c(.6, .9, -.5, -.8), c(-.6, -.9, .6, -.7), c(-.8, -1, .2, .1), c(-.3, -.2, -.1, 0), c(-1, -1.1, -.9, .8), c(-.7, -.2, -.6, -.7))
ticks <- sapply(1:6, function(j) as.integer(odds[j, role] + rnorm(48, sd = .8)[first] + rlogis(n) > 0))
colnames(ticks) <- items
ticks[role == 4, "talent"] <- NA
data <- data.frame(
  resp_id = sprintf("m%03d", 1:n),
  org_id = organisation,
  role = roles[role],
  stage = sample(c("early", "late"), 48, replace = TRUE)[first],
  size_band = sample(c("small", "medium", "large"), 48, replace = TRUE, prob = c(.4, .35, .25))[first],
  tenure = ifelse(runif(n) < .08, NA, sample(c("short", "mid", "long"), n, replace = TRUE)),
  ticks,
  weight = round(exp(rnorm(n, sd = .4)), 4)
)
write.csv(data, path("multiresponse.csv"), row.names = FALSE, quote = FALSE, na = "")
data <- read.csv(path("multiresponse.csv"), stringsAsFactors = FALSE, na.strings = "")

# --------------------------------------------------------------------------------------------------------------- output

lines <- character()
put <- function(...) lines <<- c(lines, paste0(...))
number <- function(x) {
  text <- trimws(vapply(x, function(v) format(v, digits = 15, scientific = abs(v) > 0 && abs(v) < 1e-4), ""))
  whole <- !grepl("[.e]", text)
  text[whole] <- paste0(text[whole], ".0")
  text
}
key <- function(name, value) {
  stopifnot(!anyNA(value))
  text <- if (is.character(value)) paste0('"', value, '"') else if (is.integer(value)) as.character(value) else number(value)
  put(name, " = ", if (length(value) == 1) text else paste0("[", paste(text, collapse = ", "), "]"))
}
table_of <- function(name, source) {
  put("")
  put("[", name, "]")
  put('source = "', source, '"')
}

put("# Made by make_multiresponse.R from multiresponse.csv; do not edit by hand.")
put("")
put("[environment]")
key("r", paste(R.version$major, R.version$minor, sep = "."))
key("survey", as.character(packageVersion("survey")))
key("seed", 20260102L)

# ------------------------------------------------------------------------------------- single answers: svychisq, svyby

designs <- list(
  plain = svydesign(ids = ~1, weights = rep(1, n), data = data),
  clustered = svydesign(ids = ~org_id, weights = ~weight, data = data),
  stratified = svydesign(ids = ~org_id, strata = ~size_band, weights = ~weight, data = data)
)
tables <- list(role_roi = ~ role + roi, role_culture = ~ role + culture, stage_reg = ~ stage + reg, role_tenure = ~ role + tenure,
               talent_role = ~ role + talent)
for (d in names(designs)) for (t in names(tables)) {
  answered <- complete.cases(data[all.vars(tables[[t]])])
  design <- subset(designs[[d]], answered)
  f <- svychisq(tables[[t]], design, statistic = "F")
  x <- svychisq(tables[[t]], design, statistic = "Chisq")
  table_of(paste("svychisq", d, t, sep = "."), "survey::svychisq, statistic = 'F' and 'Chisq'; unanswered left out by subset()")
  key("row", all.vars(tables[[t]])[1])
  key("column", all.vars(tables[[t]])[2])
  key("f", as.vector(f$statistic))
  key("ndf", as.vector(f$parameter[1]))
  key("ddf", as.vector(f$parameter[2]))
  key("f_p", as.vector(f$p.value))
  key("x2", as.vector(x$statistic))
  key("df", as.vector(x$parameter[1]))
  key("chisq_p", as.vector(x$p.value))
}

for (d in names(designs)) {
  found <- svyby(~roi, ~role, designs[[d]], svymean, covmat = TRUE)
  table_of(paste("share", d, "roi", sep = "."), "survey::svyby(~roi, ~role, svymean); contrasts of CFO and CTO by svycontrast; t on organisations of the two - strata is left to the reader")
  key("role", as.character(found$role))
  key("share", as.vector(coef(found)))
  key("std_error", as.vector(SE(found)))
  for (form in list(list("difference", quote(CFO - CTO)), list("log_ratio", quote(log(CFO / CTO))),
                    list("log_odds_ratio", quote(log(CFO / (1 - CFO) / (CTO / (1 - CTO))))))) {
    value <- svycontrast(found, form[[2]])
    key(form[[1]], as.vector(coef(value)))
    key(paste0(form[[1]], "_std_error"), as.vector(SE(value)))
  }
}

# ----------------------------------------------------------- sum of per-item X2: eigenvalues from the whole joint table

# Bilder, Loughin and Nettleton (2000), Bilder and Loughin (2004): tau are the shares of the cells role x answer set, their
# covariance is (diag(tau) - tau tau') / n under multinomial sampling or svymean's under the design; the departures
# p_rj - p_r p_j are functions of tau whose Jacobian is taken here by central differences.
five <- setdiff(items, "talent")
set_of <- apply(data[five], 1, paste, collapse = "")
cell <- factor(paste(data$role, set_of))
cells <- do.call(rbind, strsplit(levels(cell), " "))
member <- outer(roles, cells[, 1], "==") * 1
ticked <- t(sapply(seq_along(five), function(j) as.numeric(substr(cells[, 2], j, j))))
departures <- function(tau) as.vector(member %*% (tau * t(ticked)) - (member %*% tau) %*% t(ticked %*% tau))
jacobian <- function(f, x, h = 1e-5) sapply(seq_along(x), function(k) {
  e <- replace(numeric(length(x)), k, h)
  (f(x + e) - f(x - e)) / (2 * h)
})
for (d in names(designs)) {
  w <- weights(designs[[d]])
  tau <- as.vector(tapply(w, cell, sum)) / sum(w)
  design <- update(designs[[d]], cell = cell)
  V <- if (d == "plain") (diag(tau) - tau %o% tau) / n else vcov(svymean(~cell, design))
  G <- jacobian(departures, tau)
  share <- as.vector(member %*% tau)
  p <- as.vector(ticked %*% tau)
  scale <- n / as.vector(share %o% (p * (1 - p)))
  Sigma <- G %*% V %*% t(G)
  lambda <- eigen(scale * Sigma, only.values = TRUE)$values
  x2 <- sapply(seq_along(five), function(j) sum((scale * departures(tau)^2)[(j - 1) * 4 + 1:4]))
  nu <- degf(designs[[d]])
  tr <- sum(Re(lambda)); tr2 <- sum(Re(lambda)^2)
  table_of(paste("items", d, sep = "."), if (d == "plain") "multinomial covariance of the joint table" else "survey::svymean covariance of the joint table")
  key("items", five)
  key("x2", x2)
  key("trace", tr)
  key("trace2", tr2)
  key("first_order_p", pchisq(sum(x2) / (tr / 15), 15, lower.tail = FALSE))
  key("second_order_statistic", sum(x2) * tr / tr2)
  key("second_order_df", tr^2 / tr2)
  key("second_order_p", pchisq(sum(x2) * tr / tr2, tr^2 / tr2, lower.tail = FALSE))
  key("f_p", pf(sum(x2) / tr, tr^2 / tr2, nu * tr^2 / tr2, lower.tail = FALSE))
}

# ------------------------------------------------------------------------------------------------- dominance, contrasts

# General dominance of R2 (Budescu 1993): all subsets by stats::lm, weighted.
data$y <- round(with(data, roi - .5 * integr + .4 * culture + weight), 4)
blocks <- list(role = "role", culture = "culture", secur = "secur", stage = "stage")
r2 <- function(chosen) if (length(chosen) == 0) 0 else summary(lm(reformulate(unlist(blocks[chosen]), "y"), data, weights = weight))$r.squared
general <- sapply(seq_along(blocks), function(j) {
  others <- setdiff(seq_along(blocks), j)
  by_size <- sapply(0:3, function(k) {
    sets <- if (k == 0) list(integer()) else combn(length(others), k, function(i) others[i], simplify = FALSE)
    mean(sapply(sets, function(s) r2(c(s, j)) - r2(s)))
  })
  mean(by_size)
})
table_of("dominance", "stats::lm on all subsets, weights = weight; y = roi - .5 integr + .4 culture + weight")
key("predictor", names(blocks))
key("general", general)
key("r_squared", r2(1:4))

# Two one-sided tests and three regions from estimate, standard error, degrees of freedom (stats::pt).
cases <- data.frame(estimate = c(.1, -.2, .45, .7, -.9), se = c(.12, .1, .05, .15, .2), df = c(20, 89, 41, 60, 15), margin = .5)
table_of("equivalence", "stats::pt")
key("estimate", cases$estimate)
key("std_error", cases$se)
key("df", cases$df)
key("margin", .5)
key("p_above_lower", with(cases, pt((estimate + margin) / se, df, lower.tail = FALSE)))
key("p_below_upper", with(cases, pt((estimate - margin) / se, df)))

writeLines(lines, path("multiresponse.toml"))
cat(sprintf("multiresponse.toml: %d lines, %d respondents of %d organisations\n", length(lines), n, length(unique(data$org_id))))
