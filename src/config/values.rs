//! Turns a TOML value into a setting. Errors say what would be right, as the end of a
//! sentence that begins with the key. What only one service reads is in the file of that
//! service.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use super::units::{format_size, parse_duration, parse_size};
use crate::service::{LARGEST_DATAGRAM, Rate};

/// A value of the file.
pub type Toml<'a> = DeValue<'a>;
/// The result of reading a value.
pub type Read<T> = Result<T, String>;

/// setsockopt(2) takes an `int`, and the kernel doubles what it is given.
const LARGEST_SOCKET_BUFFER: usize = 1 << 30;
/// A line is kept in memory until it ends, so its length has to be bounded.
const LINE_LENGTHS: RangeInclusive<usize> = 64..=16 << 20;
/// Less would turn honest clients away: one value and its answer can take as much.
const LEAST_MEMORY: usize = 8 << 20;
/// The kernel's TCP_CA_NAME_MAX, less the terminating zero.
const LONGEST_CONGESTION_NAME: usize = 15;
/// The congestion controls that Linux has built in or loaded (tcp(7)).
const CONGESTION_CONTROLS: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";

/// `true` or `false`.
pub fn flag(value: &Toml<'_>) -> Read<bool> {
    value.as_bool().ok_or_else(|| instead("true or false", value))
}

/// Text of any kind.
pub fn text(value: &Toml<'_>) -> Read<String> {
    value.as_str().map(str::to_owned).ok_or_else(|| instead("a string", value))
}

/// A text that goes out as one datagram.
pub fn message(value: &Toml<'_>) -> Read<String> {
    let message = text(value)?;
    if message.len() > LARGEST_DATAGRAM {
        let length = message.len();
        return Err(format!("{length} bytes do not fit into a datagram, which holds {LARGEST_DATAGRAM}"));
    }
    Ok(message)
}

/// A whole number within bounds.
pub fn integer(value: &Toml<'_>, range: RangeInclusive<u32>) -> Read<u32> {
    let expected = || format!("a whole number from {} to {}", range.start(), range.end());
    let number = value.as_integer().ok_or_else(|| instead(&expected(), value))?;
    let digits = u32::from_str_radix(number.as_str(), number.radix()).ok();
    digits.filter(|n| range.contains(n)).ok_or_else(|| format!("{number} is not {}", expected()))
}

/// How many of something; 0 turns the limit off.
pub(super) fn count(value: &Toml<'_>) -> Read<usize> {
    integer(value, 0..=u32::MAX).map(|count| count as usize)
}

/// A rate that bounds something, per second; 0 turns the limit off.
pub fn rate(value: &Toml<'_>) -> Read<Rate> {
    match integer(value, 0..=u32::MAX)? {
        0 => Ok(Rate::OFF),
        per_second => Ok(Rate::per_second(per_second)),
    }
}

pub(super) fn port(value: &Toml<'_>) -> Read<u16> {
    let expected = "a port from 0 to 65535, where 0 takes a free one";
    let number = value.as_integer().ok_or_else(|| {
        format!("{}; to change the address, set bind", instead("a port from 0 to 65535", value))
    })?;
    let port = u16::from_str_radix(number.as_str(), number.radix());
    port.map_err(|_| format!("{number} is not {expected}"))
}

/// A duration.
pub fn duration(value: &Toml<'_>) -> Read<Duration> {
    match value {
        Toml::String(text) => parse_duration(text).map_err(|error| error.to_string()),
        Toml::Integer(number) if number.as_str() == "0" => Ok(Duration::ZERO),
        Toml::Integer(number) => Err(format!("{number} has no unit; write \"{number}s\" for seconds")),
        other => Err(instead("a duration such as \"5s\"", other)),
    }
}

/// A duration that bounds something; 0 turns the limit off.
pub(super) fn timeout(value: &Toml<'_>) -> Read<Option<Duration>> {
    duration(value).map(|duration| Some(duration).filter(|duration| !duration.is_zero()))
}

/// A size that bounds something; 0 turns the limit off.
pub fn size(value: &Toml<'_>) -> Read<usize> {
    match value {
        Toml::String(text) => parse_size(text).map_err(|error| error.to_string()),
        Toml::Integer(number) => {
            let bytes = usize::from_str_radix(number.as_str(), number.radix());
            bytes.map_err(|_| format!("{number} is not a size in bytes"))
        }
        other => Err(instead("a size such as \"64 KiB\"", other)),
    }
}

/// A budget in bytes; `None` for `"auto"`.
pub(super) fn memory(value: &Toml<'_>) -> Read<Option<usize>> {
    if value.as_str() == Some("auto") {
        return Ok(None);
    }
    match size(value).map_err(|error| format!("{error}; or write \"auto\""))? {
        size if size >= LEAST_MEMORY => Ok(Some(size)),
        size => Err(format!(
            "{} is too little to serve anybody: give at least {}, or \"auto\"",
            format_size(size),
            format_size(LEAST_MEMORY)
        )),
    }
}

pub(super) fn line_length(value: &Toml<'_>) -> Read<usize> {
    match size(value)? {
        0 => Err("cannot be turned off: a line is kept in memory until it ends".into()),
        size if LINE_LENGTHS.contains(&size) => Ok(size),
        size => Err(outside(size, &LINE_LENGTHS)),
    }
}

pub(super) fn socket_buffer(value: &Toml<'_>) -> Read<Option<usize>> {
    let range = 1..=LARGEST_SOCKET_BUFFER;
    match size(value)? {
        0 => Err("a socket needs a buffer; leave the key out for the default size".into()),
        size if range.contains(&size) => Ok(Some(size)),
        size => Err(outside(size, &range)),
    }
}

/// `false`, or seconds.
pub(super) fn linger(value: &Toml<'_>) -> Read<Option<Duration>> {
    match value {
        Toml::Boolean(false) => Ok(None),
        Toml::Boolean(true) => {
            Err("true does not say how long to linger; write a number of seconds, or false".into())
        }
        Toml::Integer(_) => {
            let seconds = integer(value, 0..=u32::from(u16::MAX))?;
            Ok(Some(Duration::from_secs(seconds.into())))
        }
        other => Err(instead("false or a number of seconds", other)),
    }
}

pub(super) fn congestion(value: &Toml<'_>) -> Read<Option<String>> {
    let name = text(value)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if name.is_empty() || name.len() > LONGEST_CONGESTION_NAME || !name.bytes().all(plain) {
        return Err(format!(
            "{name:?} is not the name of a congestion control, such as \"cubic\" or \"bbr\""
        ));
    }
    // If the list cannot be read, the socket will tell.
    if let Ok(available) = std::fs::read_to_string(CONGESTION_CONTROLS) {
        listed_congestion(&name, &available)?;
    }
    Ok(Some(name))
}

fn listed_congestion(name: &str, available: &str) -> Read<()> {
    if available.split_whitespace().any(|known| known == name) {
        return Ok(());
    }
    let available = available.split_whitespace().collect::<Vec<_>>().join(", ");
    Err(format!(
        "this system has no congestion control {name:?}; it has {available} (`modprobe tcp_{name}` would load another)"
    ))
}

/// An address to bind to.
pub fn bind(value: &Toml<'_>) -> Read<IpAddr> {
    local_host(address(value)?)
}

/// Refuses what a socket cannot be bound to by its address alone.
pub(super) fn local_host(address: IpAddr) -> Read<IpAddr> {
    if let IpAddr::V6(local) = address
        && local.is_unicast_link_local()
    {
        return Err(format!(
            "{address} is link-local: it means nothing without the name of its interface, which cannot be given; \
             use another address of this machine, or :: for all"
        ));
    }
    one_host(address)
}

/// Refuses an address that no single machine can have.
pub fn one_host(address: IpAddr) -> Read<IpAddr> {
    if address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(format!("{address} stands for many hosts; give an address of this machine"));
    }
    Ok(address)
}

/// An IP address.
pub fn address(value: &Toml<'_>) -> Read<IpAddr> {
    let text = value.as_str().ok_or_else(|| instead("an IP address in quotes", value))?;
    let address = text.parse();
    address.map_err(|_| {
        format!("{text:?} is not an IP address such as \"127.0.0.1\" or \"::1\"; names are not looked up")
    })
}

/// Says what was expected and what was found.
pub fn instead(expected: &str, value: &Toml<'_>) -> String {
    let article = if matches!(value, Toml::Integer(_) | Toml::Array(_)) { "an" } else { "a" };
    format!("expected {expected}, not {article} {}", value.type_str())
}

fn outside(size: usize, range: &RangeInclusive<usize>) -> String {
    let (least, most) = (format_size(*range.start()), format_size(*range.end()));
    format!("{} is not between {least} and {most}", format_size(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_congestion_control_that_the_system_lists_is_taken() {
        let available = "reno cubic\n";
        assert_eq!(listed_congestion("cubic", available), Ok(()));
        for missing in ["foo", "cub", "reno cubic"] {
            let reason = listed_congestion(missing, available).unwrap_err();
            assert!(reason.contains("it has reno, cubic"), "{reason}");
        }
    }
}
