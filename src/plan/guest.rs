//! Decisions about guests: from a form to an order, where it goes, what is created, pushed and run, in which steps.
//!
//! Page, API and command line take one path: [`order::read`] turns what was entered into an [`order::Order`] that lies inside
//! the boundary, or tells every field that is wrong. The drivers in `jobs` carry the rest out step by step. Nothing here
//! looks at a clock, a file or a socket; random draws are passed in.

pub mod context;
pub mod create;
pub mod gpu;
pub mod journal;
pub mod marks;
pub mod monitoring;
pub mod order;
pub mod ostemplate;
pub mod outputs;
pub mod placement;
pub mod provision;
pub mod recheck;
pub mod redaction;
pub mod remains;
pub mod review;
pub mod stack;
pub mod steps;
pub mod vmid;
pub mod whereabouts;

#[cfg(test)]
pub(crate) mod sample;
