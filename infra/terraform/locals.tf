# The shape is written once, in pipeline.yaml, and read here as the local stack reads it.
locals {
  pipeline = yamldecode(file("${path.module}/../pipeline.yaml"))
  # What `make package` has built: the name of each source's zip has its content's hash.
  build    = "${path.module}/../../build"
  packages = try(jsondecode(file("${local.build}/packages.json")), {})

  functions     = local.pipeline.functions
  subscriptions = local.pipeline.subscriptions

  # The folder that a function is made of; several may be made of one.
  source_of = { for name, each in local.functions : name => try(each.source, name) }

  # An account's name in PostgreSQL is its address without this.
  suffix         = ".gserviceaccount.com"
  with_database  = { for name, each in local.functions : name => each if each.database != "none" }
  http_functions = { for name, each in local.functions : name => each if each.trigger == "http" }
  # Roles of infra/database_rights.py: that of the source for what writes, reader for the rest.
  database_grants = join(",", concat(
    [
      for name, each in local.with_database :
      join("=", [
        each.database == "read" ? "reader" : local.source_of[name],
        google_sql_user.function[name].name,
      ])
    ],
    [for _, user in google_sql_user.reader : "reader=${user.name}"],
    [for _, user in google_sql_user.exporter : "reader=${user.name}"],
  ))
  # What is pushed to: it needs an identity that pushes, and that may invoke it.
  pushed_functions = toset([for _, each in local.subscriptions : each.function])
  http_invokers = {
    for pair in setproduct(keys(local.http_functions), var.status_viewers) :
    "${pair[0]}/${pair[1]}" => { function = pair[0], member = pair[1] }
  }

  # One entry for each right: keys are known before anything is created.
  publishers = merge([
    for name, function in local.functions : {
      for topic in function.publishes : "${name}/${topic}" => { function = name, topic = topic }
    }
  ]...)
  secret_readers = merge([
    for name, function in local.functions : {
      for secret in function.reads_secrets :
      "${name}/${secret}" => { function = name, secret = secret }
    }
  ]...)
  secret_adders = merge([
    for name, function in local.functions : {
      for secret in function.adds_to_secrets :
      "${name}/${secret}" => { function = name, secret = secret }
    }
  ]...)
  secret_viewers = merge([
    for name, function in local.functions : {
      for secret in try(function.lists_secrets, []) :
      "${name}/${secret}" => { function = name, secret = secret }
    }
  ]...)
  scheduled_topics = toset([for schedule in local.pipeline.schedules : schedule.topic])

  # Names of Cloud Run services have no underscore.
  service_name = { for name, _ in local.functions : name => replace(name, "_", "-") }

  agent = "serviceAccount:service-${data.google_project.this.number}"
  agents = {
    pubsub    = "${local.agent}@gcp-sa-pubsub.iam.gserviceaccount.com"
    scheduler = "${local.agent}@gcp-sa-cloudscheduler.iam.gserviceaccount.com"
  }

  ingress = { http = "ALLOW_ALL", pubsub = "ALLOW_INTERNAL_ONLY" }
  subnetwork_of = {
    for name, each in local.functions :
    name => google_compute_subnetwork.this[each.calls_broker ? "broker" : "internal"].name
  }
  uri_of = {
    for name, function in google_cloudfunctions2_function.this :
    name => function.service_config[0].uri
  }

  # Each instance opens as many connections as its pool has; while a revision is replaced,
  # the instances of both are there.
  most_connections = 2 * sum([
    for _, each in local.with_database : each.max_instances * each.database_pool
  ])
  # For operators, migrations, the readers of candles, and PostgreSQL itself.
  reserved_connections = 15
}

data "google_project" "this" {}
