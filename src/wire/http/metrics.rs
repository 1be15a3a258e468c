//! Figures in the text format that Prometheus collects (version 0.0.4).
//!
//! Names follow its conventions: base units (`_bytes`, `_seconds`), and `_total` for what
//! only grows.

use std::fmt::Write;

/// The `Content-Type` of the answer.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a figure does over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows; its name ends in `_total`.
    Counter,
    /// It rises and falls.
    Gauge,
}

/// Writes figures.
///
/// Call [`family`](Self::family) for each name, and then [`sample`](Self::sample) for
/// each of its values.
#[derive(Debug)]
pub struct Exposition<'o> {
    out: &'o mut String,
    name: &'static str,
}

impl<'o> Exposition<'o> {
    /// Begins at the end of `out`.
    pub fn new(out: &'o mut String) -> Exposition<'o> {
        Exposition { out, name: "" }
    }

    /// Begins the figures of this name; `help` says what they count.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        debug_assert!(is_name(name), "{name:?}");
        debug_assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name:?}");
        self.name = name;
        let kind = if kind == Kind::Counter { "counter" } else { "gauge" };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Into a String, which takes everything.
        let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// Writes one value, told from the others of its name by its labels.
    pub fn sample(&mut self, labels: &[(&'static str, &str)], value: f64) {
        self.out.push_str(self.name);
        for (place, (label, text)) in labels.iter().enumerate() {
            debug_assert!(is_name(label) && !label.contains(':'), "{label:?}");
            self.out.push(if place == 0 { '{' } else { ',' });
            self.out.push_str(label);
            self.out.push_str("=\"");
            for c in text.chars() {
                match c {
                    '\\' => self.out.push_str("\\\\"),
                    '"' => self.out.push_str("\\\""),
                    '\n' => self.out.push_str("\\n"),
                    c => self.out.push(c),
                }
            }
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        let _ = if value.is_infinite() {
            writeln!(self.out, " {}Inf", if value > 0.0 { '+' } else { '-' })
        } else {
            writeln!(self.out, " {value}")
        };
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty() && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_below_their_name() {
        let mut out = String::new();
        let mut exposition = Exposition::new(&mut out);
        exposition.family("onepoll_connections", Kind::Gauge, "Open connections.");
        exposition.sample(&[("service", "echo")], 3.0);
        exposition.sample(&[("service", "가\"\\\n"), ("transport", "tcp")], 0.25);
        exposition.family("onepoll_received_bytes_total", Kind::Counter, "Bytes\\received\n.");
        exposition.sample(&[], 12_345_678_901.0);
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            exposition.sample(&[], value);
        }
        let expected = r#"# HELP onepoll_connections Open connections.
# TYPE onepoll_connections gauge
onepoll_connections{service="echo"} 3
onepoll_connections{service="가\"\\\n",transport="tcp"} 0.25
# HELP onepoll_received_bytes_total Bytes\\received\n.
# TYPE onepoll_received_bytes_total counter
onepoll_received_bytes_total 12345678901
onepoll_received_bytes_total NaN
onepoll_received_bytes_total +Inf
onepoll_received_bytes_total -Inf
"#;
        assert_eq!(out, expected);
    }
}
