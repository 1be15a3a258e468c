//! The targets, one file each.

use crate::Target;

pub mod config;
pub mod datagram_frames;
pub mod file_requests;
pub mod frames;
pub mod http;
pub mod jpegs;
pub mod json;
pub mod pickles;
pub mod pictures;
pub mod text;
pub mod tftp_packets;
pub mod tftp_transfers;
pub mod upload_names;

/// Every target.
pub const TARGETS: [&Target; 13] = [
    &config::TARGET,
    &datagram_frames::TARGET,
    &file_requests::TARGET,
    &frames::TARGET,
    &http::TARGET,
    &jpegs::TARGET,
    &json::TARGET,
    &pickles::TARGET,
    &pictures::TARGET,
    &text::TARGET,
    &tftp_packets::TARGET,
    &tftp_transfers::TARGET,
    &upload_names::TARGET,
];
