//! Durations and sizes as people write them: `"200ms"`, `"1m30s"`, `"64 KiB"`, `"64k"`.

use std::fmt;
use std::time::Duration;

/// Units of a duration in milliseconds, largest first.
const DURATION_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
/// Units of a size in bytes, largest first.
const SIZE_UNITS: [(&str, usize); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
/// A year. A bound keeps every deadline within the range of the system's clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why a text is not a duration or not a size, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitError(String);

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnitError {}

/// Reads a duration: numbers, each with one of the units `h`, `m`, `s`, `ms`, the
/// larger unit first. The last number may have a fraction. Only 0 may go without a unit.
///
/// # Errors
/// Anything else, anything finer than a millisecond (the resolution of the event loop's
/// clock), and anything longer than a year.
///
/// ```
/// use onepoll::config::parse_duration;
/// use std::time::Duration;
/// assert_eq!(parse_duration("1.5s")?, Duration::from_millis(1500));
/// assert_eq!(parse_duration("1m30s")?, Duration::from_secs(90));
/// # Ok::<(), onepoll::config::UnitError>(())
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let number = text.trim();
    if number == "0" {
        return Ok(Duration::ZERO);
    }
    if number.parse::<u64>().is_ok() {
        return Err(UnitError(format!("{text:?} has no unit; write \"{number}s\" for seconds")));
    }
    let too_long = || UnitError(format!("{text:?} is longer than a year, which is the longest allowed"));
    let too_fine = || UnitError(format!("{text:?} is finer than a millisecond; write it like \"200ms\""));
    let no_duration = || {
        UnitError(format!("{text:?} is not a duration; write it like \"200ms\", \"5s\", \"1m30s\" or \"1h\""))
    };
    let (mut millis, mut rest, mut units) = (0u64, number, &DURATION_UNITS[..]);
    loop {
        let (number, unit, after) = part(rest);
        let place = units.iter().position(|(name, _)| *name == unit).ok_or_else(no_duration)?;
        let (_, unit) = units[place];
        // What follows has a smaller unit, and takes the place of a fraction.
        (rest, units) = (after, &units[place + 1..]);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let is_written = is_digits(whole) && is_digits(fraction);
        if !is_written || !rest.is_empty() && number.contains('.') {
            return Err(no_duration());
        }
        let whole =
            whole.parse::<u64>().ok().and_then(|whole| whole.checked_mul(unit)).ok_or_else(too_long)?;
        let fraction = fraction_of(unit, fraction).ok_or_else(too_fine)?;
        let sum = millis.checked_add(whole).and_then(|sum| sum.checked_add(fraction));
        millis = sum.ok_or_else(too_long)?;
        if rest.is_empty() {
            let duration = Duration::from_millis(millis);
            return if duration > LONGEST { Err(too_long()) } else { Ok(duration) };
        }
    }
}

/// The digits after the point as milliseconds; `None` if those are not a whole number.
fn fraction_of(unit: u64, digits: &str) -> Option<u64> {
    let digits = digits.trim_end_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    // A unit has few enough divisors that longer fractions are finer in any case.
    let scale = 10u64.checked_pow(u32::try_from(digits.len()).ok()?)?;
    let parts = digits.parse::<u64>().ok()?.checked_mul(unit)?;
    parts.is_multiple_of(scale).then_some(parts / scale)
}

/// Reads a size in bytes: a whole number, alone or with a unit. `k`, `KB` and `KiB` all
/// mean 1024 bytes, and so on with M and G, in upper or lower case.
///
/// # Errors
/// Anything else, and more than the machine can address.
///
/// ```
/// use onepoll::config::parse_size;
/// assert_eq!(parse_size("64 KiB")?, 65_536);
/// assert_eq!(parse_size("64k")?, 65_536);
/// # Ok::<(), onepoll::config::UnitError>(())
/// ```
pub fn parse_size(text: &str) -> Result<usize, UnitError> {
    let no_size = || {
        UnitError(format!("{text:?} is not a size; write it like \"512 B\", \"64 KiB\", \"64k\" or \"1m\""))
    };
    let (number, unit, rest) = part(text.trim());
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return Err(no_size()),
    };
    if !is_digits(number) || !rest.is_empty() {
        return Err(no_size());
    }
    let size = number.parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
    size.ok_or_else(|| UnitError(format!("{text:?} is more than this machine can address")))
}

/// The first number with its unit, and what follows them, without the space in between.
fn part(text: &str) -> (&str, &str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let rest = rest.trim_start();
    let end = rest.find(|c: char| c.is_ascii_digit() || c.is_whitespace()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    (number, unit, rest.trim_start())
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Writes a duration as [`parse_duration`] reads it, in the largest unit that
/// needs no fraction. What is finer than a millisecond is rounded up.
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    if millis == 0 {
        return "0s".into();
    }
    // The last unit is 1 and divides everything.
    let unit = DURATION_UNITS.iter().find(|(_, unit)| millis.is_multiple_of(u128::from(*unit)));
    let (name, unit) = unit.unwrap_or(&("ms", 1));
    format!("{}{name}", millis / u128::from(*unit))
}

/// Writes a size as [`parse_size`] reads it, in the largest unit that needs no fraction.
pub fn format_size(bytes: usize) -> String {
    if bytes == 0 {
        return "0 B".into();
    }
    // The last unit is 1 and divides everything.
    let unit = SIZE_UNITS.iter().find(|(_, unit)| bytes.is_multiple_of(*unit));
    let (name, unit) = unit.unwrap_or(&("B", 1));
    format!("{} {name}", bytes / unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_read_in_every_unit() {
        for (text, millis) in [
            ("200ms", 200),
            ("5s", 5000),
            ("5 s", 5000),
            (" 30m ", 1_800_000),
            ("1h", 3_600_000),
            ("1.5s", 1500),
            ("0.001s", 1),
            ("1.50h", 5_400_000),
            ("0", 0),
            ("0s", 0),
            ("8760h", 31_536_000_000),
            ("1m30s", 90_000),
            ("1h 30m", 5_400_000),
            ("1h0.5s", 3_600_500),
            ("1h1m1s1ms", 3_661_001),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_what_to_write() {
        for (text, part) in [
            ("5", "write \"5s\""),
            ("", "not a duration"),
            ("s", "not a duration"),
            ("-5s", "not a duration"),
            ("5 sec", "not a duration"),
            ("1m30", "not a duration"),
            ("30s1m", "not a duration"),
            ("1s1s", "not a duration"),
            ("1.5m30s", "not a duration"),
            ("8760h1ms", "longer than a year"),
            ("18446744073709551615ms1", "not a duration"),
            (".5s", "not a duration"),
            ("1.s", "not a duration"),
            ("1.2.3s", "not a duration"),
            ("오초", "not a duration"),
            ("0.5ms", "finer than a millisecond"),
            ("0.0001s", "finer than a millisecond"),
            ("0.11111111111111111111111111s", "finer than a millisecond"),
            ("99999999999999999999s", "longer than a year"),
            ("99999999999999999h", "longer than a year"),
            ("18446744073709551615h", "longer than a year"),
            ("18446744073709551615.5ms", "finer than a millisecond"),
            ("8761h", "longer than a year"),
        ] {
            let error = parse_duration(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_read_in_every_unit() {
        for (text, bytes) in [
            ("64 KiB", 65_536),
            ("1 MiB", 1 << 20),
            ("4MiB", 4 << 20),
            ("1 GiB", 1 << 30),
            ("512 B", 512),
            ("512", 512),
            ("1k", 1024),
            ("1K", 1024),
            ("3 kb", 3072),
            ("64 KB", 65_536),
            ("64 kib", 65_536),
            ("2m", 2 << 20),
            ("2 MB", 2 << 20),
            ("1g", 1 << 30),
            ("7b", 7),
            ("0", 0),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_what_to_write() {
        for (text, part) in [
            ("", "not a size"),
            ("KiB", "not a size"),
            ("64 T", "not a size"),
            ("64 ki", "not a size"),
            ("1k1", "not a size"),
            ("1k 1k", "not a size"),
            ("1 KiB KiB", "not a size"),
            ("-1", "not a size"),
            ("1.5 MiB", "not a size"),
            ("99999999999999999999", "more than"),
            ("18446744073709551615 KiB", "more than"),
        ] {
            let error = parse_size(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn the_largest_unit_without_a_fraction_is_written() {
        assert_eq!(format_duration(Duration::ZERO), "0s");
        assert_eq!(format_duration(Duration::from_secs(1800)), "30m");
        assert_eq!(format_duration(Duration::from_secs(90)), "90s");
        assert_eq!(format_duration(Duration::from_millis(1500)), "1500ms");
        assert_eq!(format_duration(Duration::from_nanos(1)), "1ms");
        assert_eq!(format_size(0), "0 B");
        assert_eq!(format_size(65_536), "64 KiB");
        assert_eq!(format_size(1500), "1500 B");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(millis in 0..31_536_000_000u64, bytes: usize) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_makes_them_panic(text: String, digits in "[0-9.]{1,40}(ms|s|m|h|B|KiB|GiB)?") {
            let _ = (parse_duration(&text), parse_size(&text), parse_duration(&digits), parse_size(&digits));
        }
    }
}
