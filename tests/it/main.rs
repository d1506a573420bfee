//! The one integration binary: everything that needs the whole library or a real program.

mod first_boot;
