terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source = "hashicorp/google"
      # The first with direct_vpc_* of functions (7.21) and database_roles of users (7.18).
      version = ">= 7.21.0, < 8.0.0"
    }

    time = {
      source  = "hashicorp/time"
      version = "~> 0.13"
    }
  }

  # The bucket and prefix are given at `terraform init`; see docs/deploy.md.
  backend "gcs" {}
}

provider "google" {
  project               = var.project_id
  region                = var.region
  billing_project       = var.project_id
  user_project_override = true

  default_labels = {
    app         = "tradesmart-pipeline"
    environment = var.environment
  }
}
