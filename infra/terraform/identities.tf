# One identity for each function, one for each that is pushed to, one that builds, one that
# migrates.
resource "google_service_account" "function" {
  for_each = local.functions

  account_id   = local.service_name[each.key]
  display_name = "Function ${each.key}"

  depends_on = [time_sleep.apis]
}

resource "google_service_account" "push" {
  for_each = local.pushed_functions

  account_id   = "push-${local.service_name[each.key]}"
  display_name = "Pushes messages to ${each.key}"

  depends_on = [time_sleep.apis]
}

resource "google_service_account" "builder" {
  account_id   = "builder"
  display_name = "Builds the functions"

  depends_on = [time_sleep.apis]
}

resource "google_service_account" "migrator" {
  account_id   = "migrator"
  display_name = "Migrates the database; operators act as it"

  depends_on = [time_sleep.apis]
}
