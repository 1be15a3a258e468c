//! The services: one file each, and the catalog of them.

pub mod catalog;
