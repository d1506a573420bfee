//! Tests of whole configuration files.
