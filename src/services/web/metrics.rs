//! The figures for Prometheus, by its conventions for names and units.

use std::time::{Instant, UNIX_EPOCH};

use super::answers::Answers;
use crate::service::{Context, ServiceReport, Statistics};
pub(super) use crate::wire::http::metrics::CONTENT_TYPE;
use crate::wire::http::metrics::{Exposition, Kind};

type Value = fn(&Statistics) -> u64;

/// What there is of each service.
const OF_SERVICES: [(&str, &str, Value); 12] = [
    ("onepoll_connections_accepted_total", "Connections accepted.", |of| of.accepted),
    ("onepoll_connections_refused_total", "Connections turned away at a limit.", |of| of.refused),
    ("onepoll_connections_too_slow_total", "Connections given up that did not take their output.", |of| {
        of.too_slow
    }),
    ("onepoll_connections_timed_out_total", "Connections that reached a timeout.", |of| of.timed_out),
    ("onepoll_received_bytes_total", "Bytes read from connections, without headers.", |of| of.bytes_received),
    ("onepoll_sent_bytes_total", "Bytes written to connections, without headers.", |of| of.bytes_sent),
    ("onepoll_datagrams_received_total", "Datagrams received.", |of| of.datagrams_received),
    ("onepoll_datagrams_sent_total", "Datagrams handed to the kernel.", |of| of.datagrams_sent),
    ("onepoll_datagrams_dropped_total", "Datagrams not answered or not sent, at a limit.", |of| {
        of.datagrams_dropped
    }),
    ("onepoll_datagrams_withheld_total", "Those dropped because of too little from that address.", |of| {
        of.datagrams_withheld
    }),
    ("onepoll_datagram_errors_total", "Errors that UDP sockets reported.", |of| of.datagram_errors),
    ("onepoll_panics_total", "Panics caught in the service.", |of| of.panics),
];

/// Writes all figures.
pub(super) fn write(
    reports: &[ServiceReport],
    since: Option<Instant>,
    answers: &Answers,
    cx: &Context<'_>,
) -> String {
    let mut text = String::new();
    let mut out = Exposition::new(&mut text);
    out.family("onepoll_build_info", Kind::Gauge, "The version, as a label; the value is always 1.");
    out.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let uptime = since.map_or_else(Default::default, |since| cx.now().saturating_duration_since(since));
    let started = cx.system_time().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(uptime);
    out.family("onepoll_start_time_seconds", Kind::Gauge, "When the daemon started, in seconds since 1970.");
    out.sample(&[], started.as_secs() as f64);
    out.family("onepoll_loop_turns_total", Kind::Counter, "Turns of the event loop.");
    out.sample(&[], cx.statistics().turns as f64);
    out.family("onepoll_http_responses_total", Kind::Counter, "Answers of this service, by status code.");
    for (status, count) in answers.counts() {
        out.sample(&[("code", &status.code().to_string())], *count as f64);
    }
    out.family("onepoll_service_up", Kind::Gauge, "1, or 0 if the service was stopped: it failed inside.");
    for report in reports {
        out.sample(&[("service", &report.name)], f64::from(u8::from(!report.is_stopped)));
    }
    out.family("onepoll_connections", Kind::Gauge, "Connections open now.");
    for report in reports {
        out.sample(&[("service", &report.name)], report.statistics.connections as f64);
    }
    for (name, help, value) in OF_SERVICES {
        out.family(name, Kind::Counter, help);
        for report in reports {
            out.sample(&[("service", &report.name)], value(&report.statistics) as f64);
        }
    }
    text
}
