//! The page of `--report`: one file, which needs no other.

use std::error::Error;
use std::fmt::Write;
use std::ops::Range;

use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

use super::summary::{Measured, Summary};
use super::table::{grouped, millis_text, table, title};
use crate::stress::measure::{Outcome, ratio};

/// Width and height of a chart.
const CHART: (u32, u32) = (860, 340);
/// The rarest event on the latency curve: one in a hundred million.
const DECADES: f64 = 8.0;
/// Points of the latency curve in a decade.
const POINTS: usize = 40;
/// Colours of the runs, one after the other; they can be told apart by those
/// who see red and green alike.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:900px;margin:2em auto;padding:0 1em;\
color:#222;background:#fff}h1{font-size:1.3em}h2{font-size:1.05em;margin:1.6em 0 .3em}\
pre{background:#f5f5f5;padding:1em;overflow-x:auto}svg{width:100%;height:auto}\
.bad{color:#a00;font-weight:bold}.good{color:#060}";

/// One curve: a name and its points.
struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
}

/// The whole page.
///
/// # Errors
/// A sentence for the user.
pub fn page(summary: &Summary, outcomes: &[Outcome]) -> Result<String, String> {
    draw(summary, outcomes).map_err(|error| format!("the report cannot be drawn: {error}"))
}

fn draw(summary: &Summary, outcomes: &[Outcome]) -> Result<String, Box<dyn Error>> {
    let title = escape(&title(&summary.settings));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>onepoll stress: {title}</title>\n<style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n"
    );
    let errors: u64 = summary.runs.iter().map(Measured::all_errors).sum();
    match errors {
        0 if summary.runs.iter().any(|run| run.interrupted) => page += "<p>Ended before its time.</p>\n",
        0 => page += "<p class=\"good\">No errors.</p>\n",
        _ => writeln!(page, "<p class=\"bad\">{errors} errors: see below.</p>")?,
    }
    let latencies = latency_curves(outcomes);
    if !latencies.is_empty() {
        page += "<h2>Latency by percentile</h2>\n";
        page += &latency_chart(&latencies)?;
    }
    let rates = rate_curves(outcomes);
    if !rates.is_empty() {
        page += "<h2>Rate over time</h2>\n";
        page += &rate_chart(&rates, outcomes.first().and_then(measured_part))?;
    }
    for (number, run) in summary.runs.iter().enumerate() {
        writeln!(page, "<h2>Run {}</h2>\n<pre>{}</pre>", number + 1, escape(&table(&summary.settings, run)))?;
    }
    page += "</body></html>\n";
    Ok(page)
}

/// Over how many nines of the requests: 1 is 90 %, 2 is 99 %.
fn latency_curves(outcomes: &[Outcome]) -> Vec<Curve> {
    let mut curves = Vec::new();
    for (number, outcome) in outcomes.iter().enumerate() {
        let latencies = &outcome.latencies;
        for (name, histogram) in [("service time", &latencies.service), ("due-time", &latencies.due)] {
            if histogram.is_empty() {
                continue;
            }
            // Rarer than one of all that were timed means nothing.
            let decades = (histogram.len() as f64).log10().clamp(1.0, DECADES);
            let count = (decades * POINTS as f64) as usize;
            let slowest = (decades, histogram.max() as f64 / 1e6);
            let points = (0..=count)
                .map(|point| {
                    let nines = point as f64 / POINTS as f64;
                    let quantile = 1.0 - 10f64.powf(-nines);
                    (nines, histogram.value_at_quantile(quantile) as f64 / 1e6)
                })
                .chain([slowest])
                .collect();
            curves.push(Curve { name: run_name(name, number, outcomes.len()), points });
        }
    }
    curves
}

fn rate_curves(outcomes: &[Outcome]) -> Vec<Curve> {
    let mut curves = Vec::new();
    for (number, outcome) in outcomes.iter().enumerate() {
        let mut lengths: Vec<_> = outcome.intervals.iter().map(|interval| interval.length).collect();
        lengths.sort_unstable();
        let usual = lengths.get(lengths.len() / 2).copied().unwrap_or_default();
        let points: Vec<(f64, f64)> = outcome
            .intervals
            .iter()
            // What is left over at the end of a phase is too short for a rate.
            .filter(|interval| interval.length >= usual / 2 && interval.phase != "drain")
            .map(|interval| {
                let middle = interval.start + interval.length / 2;
                (middle.as_secs_f64(), ratio(interval.counts.answered as f64, interval.length.as_secs_f64()))
            })
            .collect();
        if points.len() > 1 {
            curves.push(Curve { name: run_name("rate", number, outcomes.len()), points });
        }
    }
    curves
}

/// When it was measured, in seconds since the run began.
fn measured_part(outcome: &Outcome) -> Option<Range<f64>> {
    let mut measured = outcome.intervals.iter().filter(|interval| interval.phase == "measure");
    let first = measured.next()?;
    let last = measured.next_back().unwrap_or(first);
    Some(first.start.as_secs_f64()..(last.start + last.length).as_secs_f64())
}

fn run_name(name: &str, number: usize, runs: usize) -> String {
    if runs == 1 { name.to_owned() } else { format!("{name}, run {}", number + 1) }
}

fn latency_chart(curves: &[Curve]) -> Result<String, Box<dyn Error>> {
    let nines = points(curves).map(|point| point.0).fold(1.0, f64::max);
    let low = points(curves).map(|point| point.1).fold(f64::INFINITY, f64::min).max(1e-6) * 0.8;
    let high = points(curves).map(|point| point.1).fold(0.0, f64::max).max(low * 2.0) * 1.25;
    chart(
        Axis { range: 0f64..nines, labels: nines as usize + 1, write: &|nines| percent(*nines) },
        Axis { range: (low..high).log_scale(), labels: 10, write: &|millis| millis_text(*millis) },
        "share of the requests that were at least as fast; the last point is the slowest",
        0.0,
        curves,
        SeriesLabelPosition::UpperLeft,
    )
}

fn rate_chart(curves: &[Curve], measured: Option<Range<f64>>) -> Result<String, Box<dyn Error>> {
    let measured = measured.unwrap_or(0.0..0.001);
    let end = points(curves).map(|point| point.0).fold(measured.end, f64::max);
    let high = points(curves).map(|point| point.1).fold(1.0, f64::max) * 1.1;
    let digits = if end < 2.0 { 2 } else { usize::from(end < 20.0) };
    chart(
        Axis { range: 0.0..end, labels: 10, write: &|seconds| format!("{seconds:.digits$} s") },
        Axis { range: 0.0..high, labels: 10, write: &|rate| format!("{}/s", grouped(*rate)) },
        "time since the connections were opened; shaded: ramp and warm-up, which are not measured",
        measured.start,
        curves,
        SeriesLabelPosition::LowerRight,
    )
}

fn points(curves: &[Curve]) -> impl Iterator<Item = &(f64, f64)> {
    curves.iter().flat_map(|curve| &curve.points)
}

/// One axis of a chart.
struct Axis<'a, R> {
    range: R,
    labels: usize,
    write: &'a dyn Fn(&f64) -> String,
}

/// Curves as a picture (SVG), of which the part up to `shaded` is shaded.
fn chart<Y>(
    x: Axis<'_, Range<f64>>,
    y: Axis<'_, Y>,
    x_name: &str,
    shaded: f64,
    curves: &[Curve],
    legend: SeriesLabelPosition,
) -> Result<String, Box<dyn Error>>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, CHART).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(10)
            .margin_right(30)
            .x_label_area_size(36)
            .y_label_area_size(90)
            .build_cartesian_2d(x.range, y.range)?;
        if shaded > 0.0 {
            let Range { start: low, end: high } = chart.as_coord_spec().y_spec().range();
            let part = Rectangle::new([(0.0, low), (shaded, high)], BLACK.mix(0.08).filled());
            chart.draw_series([part])?;
        }
        chart
            .configure_mesh()
            .x_labels(x.labels)
            .y_labels(y.labels)
            .x_label_formatter(&x.write)
            .y_label_formatter(&y.write)
            .x_desc(x_name)
            .max_light_lines(5)
            .light_line_style(BLACK.mix(0.06))
            .draw()?;
        draw_curves(&mut chart, curves, legend)?;
        area.present()?;
    }
    Ok(svg)
}

fn draw_curves<'a, X, Y>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>,
    curves: &[Curve],
    legend: SeriesLabelPosition,
) -> Result<(), Box<dyn Error>>
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        chart
            .draw_series(LineSeries::new(curve.points.iter().copied(), colour.stroke_width(2)))?
            .label(curve.name.clone())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    if curves.len() > 1 {
        chart
            .configure_series_labels()
            .position(legend)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
    }
    Ok(())
}

/// 1 is 90 %, 2 is 99 %, 3 is 99.9 %.
fn percent(nines: f64) -> String {
    let whole = nines.round();
    let digits = (whole as usize).saturating_sub(2);
    format!("{:.digits$} %", 100.0 - 10f64.powf(2.0 - whole))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::stress::measure::{Counts, Interval, record};

    #[test]
    fn nines_are_written_as_percentages() {
        assert_eq!([0.0, 1.0, 2.0, 3.0, 4.0].map(percent), ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
    }

    #[test]
    fn the_curve_ends_with_the_slowest_and_the_shade_where_measuring_begins() {
        let mut outcome = Outcome::default();
        (1..=1000).for_each(|millis| record(&mut outcome.latencies.service, Duration::from_millis(millis)));
        let slowest = outcome.latencies.service.max() as f64 / 1e6;
        let [curve] = &latency_curves(std::slice::from_ref(&outcome))[..] else { panic!("one curve") };
        assert_eq!(curve.points.last(), Some(&(3.0, slowest)));
        assert!(slowest >= 1000.0);

        assert_eq!(measured_part(&outcome), None);
        let interval = |number: u32, phase| Interval {
            start: number * Duration::from_secs(1),
            length: Duration::from_secs(1),
            phase,
            counts: Counts { answered: 100, ..Counts::default() },
            errors: 0,
            unsent: 0,
            connections: 1,
            latency: None,
        };
        let phases = ["ramp", "warmup", "measure", "measure", "measure", "drain"];
        outcome.intervals = (0..).zip(phases).map(|(number, phase)| interval(number, phase)).collect();
        assert_eq!(measured_part(&outcome), Some(2.0..5.0));
        let curves = rate_curves(std::slice::from_ref(&outcome));
        assert_eq!(curves[0].points.last(), Some(&(4.5, 100.0)));
        let shade = |measured| rate_chart(&curves, measured).unwrap().contains("opacity=\"0.08\"");
        assert!(shade(Some(2.0..5.0)) && !shade(Some(0.0..5.0)));
    }

    #[test]
    fn no_text_becomes_markup() {
        assert_eq!(escape("<script>&\""), "&lt;script&gt;&amp;&quot;");
    }
}
