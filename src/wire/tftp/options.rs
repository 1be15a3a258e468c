//! Options of a request, and what both sides agree on.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::{BadPacket, DATA_HEADER, text};

/// The block size where none is agreed on (RFC 1350).
pub const DEFAULT_BLOCK_SIZE: u16 = 512;
/// What can be agreed on (RFC 2348).
pub const BLOCK_SIZES: RangeInclusive<u16> = 8..=65_464;
/// What can be asked for (RFC 7440).
pub const WINDOW_SIZES: RangeInclusive<u16> = 1..=65_535;
/// The most blocks of a window, as many as the kernel sends in one call.
const MOST_BLOCKS: usize = 64;
/// The most bytes of a window. It is sent at once, and a receiver's socket buffer, about
/// 200 KiB by default, has to hold it.
const MOST_WINDOW_BYTES: usize = 128 * 1024;

/// Options, asked for or accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// `blksize`: bytes of a block (RFC 2348).
    pub block_size: Option<u16>,
    /// `windowsize`: blocks per acknowledgement (RFC 7440).
    pub window_size: Option<u16>,
    /// `timeout`: seconds until something is sent again (RFC 2349).
    pub timeout: Option<u8>,
    /// `tsize`: the size of the file; 0 asks for it (RFC 2349).
    pub transfer_size: Option<u64>,
}

/// How a transfer goes, once both sides have spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// Bytes of each block but the last, which has fewer.
    pub block_size: usize,
    /// Blocks per acknowledgement.
    pub window: usize,
    /// How long to wait before something is sent again, if they agreed on it.
    pub timeout: Option<Duration>,
}

impl Default for Agreed {
    fn default() -> Agreed {
        Options::default().agreed()
    }
}

impl Agreed {
    /// Bytes of a full window.
    pub fn window_bytes(&self) -> usize {
        self.block_size * self.window
    }
}

impl Options {
    /// Reads the options of a request. Those that are unknown, or whose value makes no
    /// sense, count as not asked for.
    pub(super) fn parse_asked(bytes: &[u8]) -> Result<Options, BadPacket> {
        Options::parse(bytes).map(|(options, _)| options)
    }

    /// Reads the options of an acknowledgement. The other side must not make any up.
    pub(super) fn parse_accepted(bytes: &[u8]) -> Result<Options, BadPacket> {
        match Options::parse(bytes)? {
            (options, true) => Ok(options),
            (_, false) => Err(BadPacket::OptionValue),
        }
    }

    /// Reads options, and tells whether all are known and have a value that they can have.
    fn parse(bytes: &[u8]) -> Result<(Options, bool), BadPacket> {
        let (mut options, mut all_valid) = (Options::default(), true);
        let mut seen: Vec<&[u8]> = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (name, after) = text(rest).map_err(|_| BadPacket::Option)?;
            let (value, after) = text(after).map_err(|_| BadPacket::Option)?;
            if name.is_empty() || seen.iter().any(|other| other.eq_ignore_ascii_case(name)) {
                return Err(BadPacket::Option);
            }
            seen.push(name);
            all_valid &= options.set(name, value);
            rest = after;
        }
        Ok((options, all_valid))
    }

    /// Takes an option. False if it is unknown, or the value is not one that it can have.
    fn set(&mut self, name: &[u8], value: &[u8]) -> bool {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("blksize") {
            // A server may agree on less than it is asked for, so more is no mistake.
            let most = *BLOCK_SIZES.end();
            let size = decimal::<u32>(value).filter(|size| *size >= u32::from(*BLOCK_SIZES.start()));
            self.block_size = size.map(|size| size.min(u32::from(most)) as u16);
            self.block_size.is_some()
        } else if is("windowsize") {
            self.window_size = decimal(value).filter(|size| WINDOW_SIZES.contains(size));
            self.window_size.is_some()
        } else if is("timeout") {
            self.timeout = decimal(value).filter(|seconds| *seconds > 0);
            self.timeout.is_some()
        } else if is("tsize") {
            self.transfer_size = decimal(value);
            self.transfer_size.is_some()
        } else {
            false
        }
    }

    pub(super) fn write(&self, to: &mut Vec<u8>) {
        let mut option = |name: &str, value: Option<&dyn Display>| {
            if let Some(value) = value {
                to.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
            }
        };
        option("blksize", self.block_size.as_ref().map(|value| value as &dyn Display));
        option("windowsize", self.window_size.as_ref().map(|value| value as &dyn Display));
        option("timeout", self.timeout.as_ref().map(|value| value as &dyn Display));
        option("tsize", self.transfer_size.as_ref().map(|value| value as &dyn Display));
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Options::default()
    }

    /// What a server accepts of what it is asked for: blocks up to `most_block_size`, and
    /// windows that a socket buffer holds. `size` is the size of the file, if it is known.
    pub fn granted(&self, most_block_size: u16, size: Option<u64>) -> Options {
        let block_size = self.block_size.map(|asked| asked.min(most_block_size));
        let datagram = usize::from(block_size.unwrap_or(DEFAULT_BLOCK_SIZE)) + DATA_HEADER;
        let most = (MOST_WINDOW_BYTES / datagram).clamp(1, MOST_BLOCKS) as u16;
        Options {
            block_size,
            window_size: self.window_size.map(|asked| asked.min(most)),
            timeout: self.timeout,
            transfer_size: self.transfer_size.and(size),
        }
    }

    /// How the transfer goes if these options are accepted.
    pub fn agreed(&self) -> Agreed {
        Agreed {
            block_size: self.block_size.unwrap_or(DEFAULT_BLOCK_SIZE).into(),
            window: self.window_size.unwrap_or(1).into(),
            timeout: self.timeout.map(|seconds| Duration::from_secs(seconds.into())),
        }
    }

    /// How the transfer goes if a server has `accepted` these of what it was asked for.
    ///
    /// # Errors
    /// If it accepted what it was not asked for, or more.
    pub fn agree(&self, accepted: &Options) -> Result<Agreed, BadPacket> {
        fn is_within<T: PartialOrd>(accepted: Option<T>, asked: Option<T>) -> bool {
            match (accepted, asked) {
                (Some(accepted), Some(asked)) => accepted <= asked,
                (accepted, _) => accepted.is_none(),
            }
        }
        let is_right = is_within(accepted.block_size, self.block_size)
            && is_within(accepted.window_size, self.window_size)
            && (accepted.timeout.is_none() || accepted.timeout == self.timeout)
            && (accepted.transfer_size.is_none() || self.transfer_size.is_some());
        if is_right { Ok(accepted.agreed()) } else { Err(BadPacket::OptionValue) }
    }
}

/// A number in decimal digits only: `parse` would take a sign too.
fn decimal<T: FromStr>(value: &[u8]) -> Option<T> {
    let is_number = value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| is_number)?.parse().ok()
}
