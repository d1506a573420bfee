//! Tests of the step tables, and the pages that document them.
