//! TFTP packets and their options, and netascii.

use arbitrary::{Result, Unstructured};
use onepoll::wire::tftp::{Options, Packet, Request, netascii, readable};

use crate::generate::{bytes, joined, name, number, one_of};
use crate::pieces::splits;
use crate::{Memory, Target};

pub const TARGET: Target = Target {
    name: "tftp_packets",
    check,
    generate,
    words: &[
        b"\0octet\0",
        b"\0netascii\0",
        b"\0mail\0",
        b"blksize\0",
        b"windowsize\0",
        b"timeout\0",
        b"tsize\0",
        b"65464\0",
        b"65535\0",
        b"18446744073709551615\0",
        b"-1\0",
        b"+8\0",
        b"\r\n",
        b"\r\0",
        b"\0\x01",
        b"\0\x02",
        b"\0\x03",
        b"\0\x04",
        b"\0\x05",
        b"\0\x06",
        b"\xFF\xFF",
    ],
    memory: Memory { fixed: 8 * 1024, per_byte: 64 },
};

fn check(input: &[u8]) {
    if let Ok(packet) = Packet::parse(input) {
        assert_eq!(Packet::parse(&packet.bytes()), Ok(as_written(packet)), "what is written is read back");
        match packet {
            Packet::Read(request) | Packet::Write(request) => granted(&request),
            Packet::Error { text, .. } => {
                assert!(!readable(text).contains(char::is_control));
            }
            _ => {}
        }
    }
    let data = Packet::Data { block: 7, bytes: input };
    assert_eq!(Packet::parse(&data.bytes()), Ok(data));
    text_survives(input);
}

/// An error's text is cut when it is written; nothing else is.
fn as_written(packet: Packet) -> Packet {
    match packet {
        Packet::Error { code, text } => Packet::Error { code, text: &text[..text.len().min(256)] },
        packet => packet,
    }
}

/// What a server grants is what the client can agree to, and fits a socket buffer.
fn granted(request: &Request) {
    assert!(!request.name.is_empty() && !request.name.contains(&0));
    for most in [8, 512, 1428, 65_464] {
        for size in [None, Some(0), Some(u64::MAX)] {
            let granted = request.options.granted(most, size);
            let agreed = request.options.agree(&granted).expect("no more is granted than was asked for");
            assert_eq!(agreed, granted.agreed());
            assert!(agreed.window == 1 || agreed.window_bytes() <= 128 * 1024);
            assert!(granted.block_size.is_none_or(|size| size <= most));
            if granted != Options::default() {
                let packet = Packet::OptionAck(granted);
                assert_eq!(Packet::parse(&packet.bytes()), Ok(packet));
            }
        }
    }
}

/// A file that goes over the wire as netascii comes out the same, however both are split.
fn text_survives(file: &[u8]) {
    let mut wire = Vec::new();
    netascii::encode(file, &mut wire);
    for pieces in splits(&wire) {
        assert!(decoded(&pieces) == file, "netascii changed the file");
    }
    let whole = decoded(&[file]);
    for pieces in splits(file) {
        assert!(decoded(&pieces) == whole, "netascii depends on the split");
    }
}

fn decoded(pieces: &[&[u8]]) -> Vec<u8> {
    let (mut decoder, mut file) = (netascii::Decoder::default(), Vec::new());
    pieces.iter().for_each(|piece| decoder.decode(piece, &mut file));
    decoder.finish(&mut file);
    file
}

fn generate(u: &mut Unstructured) -> Result<Vec<u8>> {
    let opcode = u.int_in_range(0..=7u8)?;
    let mut packet = vec![0, opcode];
    match opcode {
        1 | 2 => {
            packet.extend(name(u)?);
            packet.push(0);
            packet.extend(one_of(u, &[b"octet\0", b"netascii\0", b"OCTET\0", b"mail\0", b"octet"])?);
            packet.extend(joined(u, 5, option)?);
        }
        6 => packet.extend(joined(u, 5, option)?),
        _ => packet.extend(bytes(u, 600)?),
    }
    Ok(packet)
}

fn option(u: &mut Unstructured) -> Result<Vec<u8>> {
    let mut option =
        one_of(u, &[b"blksize", b"BLKSIZE", b"windowsize", b"timeout", b"tsize", b"multicast", b""])?;
    option.push(0);
    option.extend(number(u)?.to_string().into_bytes());
    option.push(0);
    Ok(option)
}
