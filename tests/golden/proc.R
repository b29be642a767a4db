# Scores in (proc_input.json), what R's pROC says of them out (proc.json). Data made by us; pROC's own data set is asah.csv (test_versus.py).
# Made with: Rscript tests/golden/proc.R   (Debian 12: apt install r-cran-proc r-cran-jsonlite)
suppressMessages({library(pROC); library(jsonlite)})
folder <- "tests/golden"
given <- fromJSON(file.path(folder, "proc_input.json"))
curve <- function(set, model) roc(set$labels, set[[model]], levels = c(0, 1), direction = "<", quiet = TRUE)
one <- function(set, model) {
  r <- curve(set, model)
  list(auc = as.numeric(auc(r)), variance = var(r, method = "delong"), ci = as.numeric(ci.auc(r, method = "delong"))[c(1, 3)],
       sensitivities = r$sensitivities, specificities = r$specificities)
}
pair <- function(set) {
  a <- curve(set, "a"); b <- curve(set, "b")
  t <- roc.test(a, b, method = "delong", paired = TRUE)
  list(covariance = cov(a, b, method = "delong"), z = unname(t$statistic), p = t$p.value,
       ci = as.numeric(t$conf.int))
}
sets <- lapply(given$sets, function(s) c(list(a = one(s, "a"), b = one(s, "b")), list(pair = pair(s))))
u <- roc.test(curve(given$sets[[1]], "a"), curve(given$sets[[2]], "a"), method = "delong", paired = FALSE)
out <- list(made_by = paste("R", getRversion(), "pROC", packageVersion("pROC")), sets = sets,
            unpaired = list(t = unname(u$statistic), df = unname(u$parameter), p = u$p.value))
writeLines(toJSON(out, auto_unbox = TRUE, digits = 16, pretty = TRUE), file.path(folder, "proc.json"))
