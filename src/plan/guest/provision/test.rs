//! Tests of the provisioning plan.
