//! TFTP: packets (RFC 1350), options (RFC 2347, 2348, 2349, 7440), and both ends of a
//! transfer as state machines without socket, clock or disk.
//!
//! | opcode | packet | after the opcode |
//! | --- | --- | --- |
//! | 1, 2 | read request, write request | name, 0, mode, 0, then options |
//! | 3 | data | block number, contents |
//! | 4 | acknowledgement | block number |
//! | 5 | error | code, text, 0 |
//! | 6 | option acknowledgement | options |
//!
//! Numbers have two bytes, the high one first. An option is its name, 0, its value, 0.

pub mod netascii;
mod options;
mod receiver;
mod retries;
mod sender;
#[cfg(test)]
mod tests;

use std::fmt;

pub use options::{Agreed, BLOCK_SIZES, DEFAULT_BLOCK_SIZE, Options, WINDOW_SIZES};
pub use receiver::Receiver;
pub use sender::Sender;

/// The longest request (RFC 2347).
pub const LONGEST_REQUEST: usize = 512;
/// Opcode and block number, in front of a block's contents.
pub const DATA_HEADER: usize = 4;
/// The longest text of an error that is sent or kept.
const LONGEST_TEXT: usize = 256;

const READ: u16 = 1;
const WRITE: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OPTION_ACK: u16 = 6;

/// One datagram, understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Asks for a file.
    Read(Request<'a>),
    /// Announces a file.
    Write(Request<'a>),
    /// A block of the file. One that is shorter than the block size is the last.
    Data {
        /// Its number: 1 for the first, and 0 after 65,535.
        block: u16,
        /// Its contents.
        bytes: &'a [u8],
    },
    /// Acknowledges this block and all before it.
    Ack {
        /// The block's number.
        block: u16,
    },
    /// Ends the transfer.
    Error {
        /// One of [`ErrorCode`], or a number that RFC 1350 does not know.
        code: u16,
        /// An explanation for people.
        text: &'a [u8],
    },
    /// Accepts options of a request.
    OptionAck(Options),
}

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The name of the file, as it came.
    pub name: &'a [u8],
    /// How contents are encoded.
    pub mode: Mode,
    /// The options that are understood and valid; others are as if they had not been
    /// asked for (RFC 2347).
    pub options: Options,
}

/// How contents are encoded on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Byte for byte.
    #[default]
    Octet,
    /// Text whose lines end in CR LF, see [`netascii`].
    Netascii,
}

impl Mode {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Octet => "octet",
            Mode::Netascii => "netascii",
        }
    }
}

/// Why a transfer ended, in the protocol's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// See the text.
    Undefined = 0,
    /// There is no such file.
    FileNotFound = 1,
    /// The file may not be read or written.
    AccessViolation = 2,
    /// The disk is full, or an allocation is exceeded.
    DiskFull = 3,
    /// The packet is malformed, or makes no sense at this point.
    IllegalOperation = 4,
    /// The packet belongs to no transfer at this port.
    UnknownTransfer = 5,
    /// The file exists already.
    FileExists = 6,
    /// There is no such user (RFC 1350's mail, which nobody speaks).
    NoSuchUser = 7,
    /// The options cannot be agreed on (RFC 2347).
    BadOptions = 8,
}

/// Why a datagram is not a TFTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadPacket {
    /// It ends before its fields do.
    Short,
    /// No packet has this opcode.
    Opcode(u16),
    /// A text is not ended by a zero byte, or bytes follow its end.
    Text,
    /// A request names no file.
    NoName,
    /// A request is longer than [`LONGEST_REQUEST`].
    LongRequest,
    /// The mode is neither octet nor netascii.
    Mode,
    /// Bytes follow the end of a packet.
    Long,
    /// An option has no name or no value, or is given twice.
    Option,
    /// An accepted option has a value that it cannot have.
    OptionValue,
}

impl BadPacket {
    /// The code of the error that answers it.
    pub fn code(self) -> ErrorCode {
        match self {
            BadPacket::Option | BadPacket::OptionValue => ErrorCode::BadOptions,
            _ => ErrorCode::IllegalOperation,
        }
    }
}

impl fmt::Display for BadPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadPacket::Short => f.write_str("the packet is cut short"),
            BadPacket::Opcode(opcode) => write!(f, "there is no opcode {opcode}"),
            BadPacket::Text => f.write_str("a text does not end in a zero byte"),
            BadPacket::NoName => f.write_str("the request names no file"),
            BadPacket::LongRequest => write!(f, "a request has at most {LONGEST_REQUEST} bytes"),
            BadPacket::Mode => f.write_str("the mode is neither octet nor netascii"),
            BadPacket::Long => f.write_str("bytes follow the end of the packet"),
            BadPacket::Option => f.write_str("an option has no value, or is given twice"),
            BadPacket::OptionValue => f.write_str("an option has a value that it cannot have"),
        }
    }
}

impl std::error::Error for BadPacket {}

/// How a transfer failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The peer did not answer any more.
    Silence,
    /// The peer ended it with an error.
    Refused {
        /// The error's code.
        code: u16,
        /// Its text, without control characters.
        text: String,
    },
    /// This side ended it with an error, which the peer is sent.
    Ended {
        /// The error's code.
        code: ErrorCode,
        /// Its text.
        text: String,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Silence => f.write_str("the other side stopped answering"),
            Failure::Refused { code, text } if text.is_empty() => {
                write!(f, "the other side ended it with error {code}")
            }
            Failure::Refused { code, text } => write!(f, "the other side says: {text} (error {code})"),
            Failure::Ended { text, .. } => f.write_str(text),
        }
    }
}

impl<'a> Packet<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// If it is not exactly one packet.
    pub fn parse(datagram: &'a [u8]) -> Result<Packet<'a>, BadPacket> {
        let (opcode, rest) = number(datagram)?;
        match opcode {
            READ | WRITE if datagram.len() > LONGEST_REQUEST => Err(BadPacket::LongRequest),
            READ => Request::parse(rest).map(Packet::Read),
            WRITE => Request::parse(rest).map(Packet::Write),
            DATA => number(rest).map(|(block, bytes)| Packet::Data { block, bytes }),
            ACK => match number(rest)? {
                (block, []) => Ok(Packet::Ack { block }),
                _ => Err(BadPacket::Long),
            },
            ERROR => {
                let (code, rest) = number(rest)?;
                match rest {
                    // Some senders leave out the text's end, or the text.
                    [text @ .., 0] | text if !text.contains(&0) => Ok(Packet::Error { code, text }),
                    _ => Err(BadPacket::Text),
                }
            }
            OPTION_ACK => Options::parse_accepted(rest).map(Packet::OptionAck),
            _ => Err(BadPacket::Opcode(opcode)),
        }
    }

    /// Appends the packet's bytes.
    pub fn write(&self, to: &mut Vec<u8>) {
        match self {
            Packet::Read(request) => request.write(READ, to),
            Packet::Write(request) => request.write(WRITE, to),
            Packet::Data { block, bytes } => {
                to.extend_from_slice(&header(DATA, *block));
                to.extend_from_slice(bytes);
            }
            Packet::Ack { block } => to.extend_from_slice(&header(ACK, *block)),
            Packet::Error { code, text } => {
                to.extend_from_slice(&header(ERROR, *code));
                to.extend(text.iter().take(LONGEST_TEXT).filter(|byte| **byte != 0));
                to.push(0);
            }
            Packet::OptionAck(options) => {
                to.extend_from_slice(&OPTION_ACK.to_be_bytes());
                options.write(to);
            }
        }
    }

    /// The packet's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        bytes
    }
}

/// The bytes of an error packet.
pub fn error(code: ErrorCode, text: &str) -> Vec<u8> {
    Packet::Error { code: code as u16, text: text.as_bytes() }.bytes()
}

/// An error's text for people: without control characters, and not endless.
pub fn readable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(LONGEST_TEXT)]);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

impl<'a> Request<'a> {
    fn parse(rest: &'a [u8]) -> Result<Request<'a>, BadPacket> {
        let (name, rest) = text(rest)?;
        if name.is_empty() {
            return Err(BadPacket::NoName);
        }
        let (mode, rest) = text(rest)?;
        let named = |known: &Mode| mode.eq_ignore_ascii_case(known.name().as_bytes());
        let mode = [Mode::Octet, Mode::Netascii].into_iter().find(named).ok_or(BadPacket::Mode)?;
        Ok(Request { name, mode, options: Options::parse_asked(rest)? })
    }

    fn write(&self, opcode: u16, to: &mut Vec<u8>) {
        to.extend_from_slice(&opcode.to_be_bytes());
        for text in [self.name, self.mode.name().as_bytes()] {
            to.extend_from_slice(text);
            to.push(0);
        }
        self.options.write(to);
    }
}

fn header(opcode: u16, number: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (opcode.to_be_bytes(), number.to_be_bytes());
    [a, b, c, d]
}

fn number(bytes: &[u8]) -> Result<(u16, &[u8]), BadPacket> {
    let (number, rest) = bytes.split_first_chunk().ok_or(BadPacket::Short)?;
    Ok((u16::from_be_bytes(*number), rest))
}

/// Splits off a text and the zero byte that ends it.
fn text(bytes: &[u8]) -> Result<(&[u8], &[u8]), BadPacket> {
    let end = bytes.iter().position(|byte| *byte == 0).ok_or(BadPacket::Text)?;
    Ok((&bytes[..end], &bytes[end + 1..]))
}
