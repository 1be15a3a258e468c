//! The page of `--report`: a single file that depends on no other.

use std::error::Error;
use std::fmt::Write;
use std::ops::Range;

use plotters::coord::combinators::BindKeyPoints;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

use super::summary::{Measured, Summary, Times};
use super::table::{grouped, millis_text, outage_text, title, warnings};
use crate::stress::measure::{Interval, Outcome, ratio};
use crate::stress::metrics::{Metric, STATISTICS};

/// Width and height of a chart, and the size of its letters: a small screen shows it
/// at about half of that.
const CHART: (u32, u32) = (640, 340);
const LETTERS: u32 = 18;
/// The rarest event on the latency curve: one in a hundred million.
const DECADES: f64 = 8.0;
/// Points of the latency curve in a decade.
const POINTS: usize = 40;
/// Colours of the first few runs, chosen so that people with red-green blindness
/// can tell them apart.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    BLACK,
];
/// The most labels on an axis of latencies.
const LABELS: usize = 10;
/// The fewest labels, if there is any choice.
const FEWEST_LABELS: usize = 3;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:760px;margin:1.5em auto;padding:0 .8em;\
color:#222;background:#fff}h1{font-size:1.2em;overflow-wrap:anywhere}h2{font-size:1.05em;margin:1.6em 0 .3em}\
code{background:#f5f5f5;overflow-wrap:anywhere}svg{width:100%;height:auto}\
table{border-collapse:collapse;font-size:.9em;margin:.6em 0}td,th{padding:.1em .6em .1em 0;text-align:right}\
td:first-child,th:first-child{text-align:left;font-weight:normal;color:#555}\
.legend{list-style:none;padding:0;margin:0;columns:14em;font-size:.9em}\
.legend i{display:inline-block;width:2em;margin-right:.5em;vertical-align:middle;border-top:2px solid}\
.legend .dashed{border-top-style:dashed}.bad{color:#a00;font-weight:bold}.good{color:#060}";

/// One curve. All curves of one run have the same colour.
struct Curve {
    name: String,
    colour: RGBColor,
    is_dashed: bool,
    points: Vec<(f64, f64)>,
}

/// Draws the whole page. `verdict` says what is wrong, if anything is.
///
/// # Errors
/// A sentence for the user.
pub fn page(summary: &Summary, outcomes: &[Outcome], verdict: Option<&str>) -> Result<String, String> {
    draw(summary, outcomes, verdict).map_err(|error| format!("the report cannot be drawn: {error}"))
}

fn draw(summary: &Summary, outcomes: &[Outcome], verdict: Option<&str>) -> Result<String, Box<dyn Error>> {
    let title = escape(&title(&summary.settings));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>onepoll stress: {title}</title>\n<style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n"
    );
    match verdict {
        Some(sentence) => writeln!(page, "<p class=\"bad\">{}</p>", escape(sentence))?,
        None if summary.runs.iter().any(|run| run.interrupted) => page += "<p>Ended early.</p>\n",
        None => page += "<p class=\"good\">No errors.</p>\n",
    }
    let origin = [
        ("run", summary.runs.first().and_then(|run| run.started.as_ref())),
        ("on", summary.host.as_ref()),
        ("by onepoll", summary.version.as_ref()),
    ];
    let origin: Vec<String> =
        origin.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?))).collect();
    let command = summary.command.as_deref().unwrap_or_default();
    writeln!(page, "<p>{}<br><code>{}</code></p>", escape(&origin.join(", ")), escape(command))?;
    let measured = outcomes.first().and_then(measured_part).unwrap_or(0.0..0.001);
    let latencies = latency_curves(outcomes);
    if !latencies.is_empty() {
        page += "<h2>Latency by percentile</h2>\n";
        page += &latency_chart(&latencies)?;
    }
    let millis = |interval: &Interval, place: usize| Some(interval.latency?[place].as_secs_f64() * 1e3);
    let mut times = curves_over_time(outcomes, "p50", |interval| millis(interval, 0));
    times.iter_mut().for_each(|curve| curve.is_dashed = true);
    times.extend(curves_over_time(outcomes, "p99", |interval| millis(interval, 1)));
    if !times.is_empty() {
        page += "<h2>Latency over time</h2>\n";
        page += &times_chart(&times, &measured)?;
    }
    let rates = curves_over_time(outcomes, "rate", |interval| per_second(interval, interval.counts.answered));
    if !rates.is_empty() {
        page += "<h2>Rate over time</h2>\n";
        page += &rate_chart(&rates, &measured)?;
    }
    let errors =
        curves_over_time(outcomes, "errors", |interval| per_second(interval, interval.counts.faults()));
    if points(&errors).any(|point| point.1 > 0.0) {
        page += "<h2>Errors over time</h2>\n";
        page += &rate_chart(&errors, &measured)?;
    }
    for (number, run) in summary.runs.iter().enumerate() {
        writeln!(page, "<h2>Run {}</h2>\n{}", number + 1, figures(summary, run))?;
    }
    page += "</body></html>\n";
    Ok(page)
}

fn per_second(interval: &Interval, count: u64) -> Option<f64> {
    Some(ratio(count as f64, interval.length.as_secs_f64()))
}

/// What a run measured, as tables that fit a small screen.
fn figures(summary: &Summary, run: &Measured) -> String {
    let mut text = String::new();
    for warning in warnings(&summary.settings, run) {
        let _ = writeln!(text, "<p class=\"bad\">{}</p>", escape(&warning));
    }
    let times = [
        (summary.settings.labels.service, run.service),
        ("due-time", run.due),
        ("sent late by", run.late),
        ("connect", run.connect),
    ];
    let times: Vec<(&str, Times)> =
        times.iter().filter_map(|(name, times)| Some((*name, (*times)?))).collect();
    if !times.is_empty() {
        let names: String = times.iter().map(|(name, _)| format!("<th>{name}</th>")).collect();
        let _ = writeln!(text, "<table>\n<tr><th></th>{names}</tr>");
        for (place, statistic) in STATISTICS.iter().enumerate() {
            let value = |times: &Times| times.values[place].map_or("–".into(), millis_text);
            let values: String =
                times.iter().map(|(_, times)| format!("<td>{}</td>", value(times))).collect();
            let _ = writeln!(text, "<tr><td>{}</td>{values}</tr>", statistic.name);
        }
        text += "</table>\n";
    }
    text += "<table>\n";
    for metric in Metric::all().iter().filter(|metric| metric.is_listed()) {
        if let Some(value) = metric.value(run).filter(|value| *value > 0.0 || metric.is_fault()) {
            let class = if metric.is_fault() && value > 0.0 { " class=\"bad\"" } else { "" };
            let _ =
                writeln!(text, "<tr><td>{}</td><td{class}>{}</td></tr>", metric.label(), metric.show(value));
        }
    }
    for (kind, count) in &run.errors {
        let _ = writeln!(text, "<tr><td>{}</td><td>{count}</td></tr>", escape(kind));
    }
    if run.early_faults() > 0 {
        let _ =
            writeln!(text, "<tr><td>before measuring</td><td class=\"bad\">{}</td></tr>", run.early_faults());
    }
    for outage in &run.outages {
        let _ = writeln!(text, "<tr><td>outage</td><td class=\"bad\">{}</td></tr>", outage_text(outage));
    }
    if let Some(answer) = &run.wrong_answer {
        let _ =
            writeln!(text, "<tr><td>first wrong answer</td><td><code>{}</code></td></tr>", escape(answer));
    }
    text + "</table>"
}

/// Latency curves over the number of nines: 1 is 90 %, 2 is 99 %.
fn latency_curves(outcomes: &[Outcome]) -> Vec<Curve> {
    let mut curves = Vec::new();
    for (number, outcome) in outcomes.iter().enumerate() {
        let latencies = &outcome.latencies;
        let both = [("service time", &latencies.service, true), ("due-time", &latencies.due, false)];
        for (name, histogram, is_dashed) in both {
            if histogram.is_empty() {
                continue;
            }
            // Anything rarer than one in the number of timed requests means
            // nothing.
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
            curves.push(Curve {
                name: run_name(name, number, outcomes.len()),
                colour: colour(number, outcomes.len()),
                // A single curve needs no dashes to be told apart.
                is_dashed: is_dashed && !latencies.due.is_empty(),
                points,
            });
        }
    }
    curves
}

/// The colour of a run.
fn colour(number: usize, runs: usize) -> RGBColor {
    match COLOURS.get(number) {
        Some(colour) if runs <= COLOURS.len() => *colour,
        _ => {
            let (red, green, blue) = HSLColor(number as f64 / runs as f64, 0.8, 0.4).rgb();
            RGBColor(red, green, blue)
        }
    }
}

/// Curves of a value of each interval that has one.
fn curves_over_time(
    outcomes: &[Outcome],
    name: &str,
    value: impl Fn(&Interval) -> Option<f64>,
) -> Vec<Curve> {
    let mut curves = Vec::new();
    for (number, outcome) in outcomes.iter().enumerate() {
        let measured = outcome.intervals.iter().filter(|interval| interval.phase == "measure");
        let mut lengths: Vec<_> = measured.map(|interval| interval.length).collect();
        lengths.sort_unstable();
        let usual = lengths.get(lengths.len() / 2).copied().unwrap_or_default();
        let points: Vec<(&Interval, f64)> = outcome
            .intervals
            .iter()
            // What is left over at the end of a phase is too short for a rate.
            .filter(|interval| interval.length >= usual / 2 && interval.phase != "drain")
            .filter(|interval| !interval.length.is_zero())
            .filter_map(|interval| Some((interval, value(interval)?)))
            .collect();
        let points: Vec<(f64, f64)> = match &points[..] {
            [] => continue,
            // A few messages may take less than one interval: draw it as a line.
            [(only, value)] => {
                let ends = [only.start, only.start + only.length];
                ends.map(|end| (end.as_secs_f64(), *value)).to_vec()
            }
            several => {
                let middle = |interval: &Interval| (interval.start + interval.length / 2).as_secs_f64();
                several.iter().map(|(interval, value)| (middle(interval), *value)).collect()
            }
        };
        curves.push(Curve {
            name: run_name(name, number, outcomes.len()),
            colour: colour(number, outcomes.len()),
            is_dashed: false,
            points,
        });
    }
    curves
}

/// The time of the measurement, in seconds since the run began.
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
    let (low, high) = bounds(curves);
    chart(
        Axis { range: 0f64..nines, labels: nines as usize + 1, write: &|nines| percent(*nines) },
        Axis {
            range: (low..high).log_scale().with_key_points(steps(low, high)),
            labels: LABELS,
            write: &|millis| millis_text(*millis),
        },
        "share of requests at least as fast; the last point is the slowest",
        0.0,
        curves,
    )
}

/// What an axis of latencies spans.
fn bounds(curves: &[Curve]) -> (f64, f64) {
    let low = points(curves).map(|point| point.1).fold(f64::INFINITY, f64::min).max(1e-6) * 0.8;
    (low, points(curves).map(|point| point.1).fold(0.0, f64::max).max(low * 2.0) * 1.25)
}

const TIME_AXIS: &str = "time since the first connection; shaded: not measured";

fn times_chart(curves: &[Curve], measured: &Range<f64>) -> Result<String, Box<dyn Error>> {
    let (low, high) = bounds(curves);
    let end = points(curves).map(|point| point.0).fold(measured.end, f64::max);
    chart(
        Axis { range: 0.0..end, labels: 8, write: &|seconds| seconds_text(*seconds, end) },
        Axis {
            range: (low..high).log_scale().with_key_points(steps(low, high)),
            labels: LABELS,
            write: &|millis| millis_text(*millis),
        },
        TIME_AXIS,
        measured.start,
        curves,
    )
}

fn rate_chart(curves: &[Curve], measured: &Range<f64>) -> Result<String, Box<dyn Error>> {
    let end = points(curves).map(|point| point.0).fold(measured.end, f64::max);
    let high = points(curves).map(|point| point.1).fold(1.0, f64::max) * 1.1;
    chart(
        Axis { range: 0.0..end, labels: 8, write: &|seconds| seconds_text(*seconds, end) },
        Axis { range: 0.0..high, labels: 8, write: &|rate| format!("{}/s", grouped(*rate)) },
        TIME_AXIS,
        measured.start,
        curves,
    )
}

/// A time on an axis that ends at `end`.
fn seconds_text(seconds: f64, end: f64) -> String {
    let digits = if end < 2.0 { 2 } else { usize::from(end < 20.0) };
    format!("{seconds:.digits$} s")
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

/// Values for the labels on an axis of latencies: those that begin with 1, 2 or
/// 5; only 1 if they would be too many, and finer ones if too few.
fn steps(low: f64, high: f64) -> Vec<f64> {
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let steps = |digits: &[f64]| -> Vec<f64> {
        let all =
            decades.clone().flat_map(|decade| digits.iter().map(move |digit| digit * 10f64.powi(decade)));
        all.filter(|step| (low..=high).contains(step)).collect()
    };
    let usual = steps(&[1.0, 2.0, 5.0]);
    if usual.len() > LABELS {
        return steps(&[1.0]);
    }
    let fifths: Vec<f64> = (5..50).map(|fifths| f64::from(fifths) / 5.0).collect();
    [usual, steps(&[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0])]
        .into_iter()
        .find(|steps| steps.len() >= FEWEST_LABELS)
        .unwrap_or_else(|| steps(&fifths))
}

/// Draws curves as a picture (SVG) with a legend below; everything up to `shaded`
/// is shaded.
fn chart<Y>(
    x: Axis<'_, Range<f64>>,
    y: Axis<'_, Y>,
    x_name: &str,
    shaded: f64,
    curves: &[Curve],
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
            .x_label_area_size(56)
            .y_label_area_size(110)
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
            .label_style(("sans-serif", LETTERS))
            .max_light_lines(5)
            .light_line_style(BLACK.mix(0.06))
            .draw()?;
        draw_curves(&mut chart, curves)?;
        area.present()?;
    }
    Ok(svg + &legend(curves))
}

/// The legend, outside the picture so that it covers none of it.
fn legend(curves: &[Curve]) -> String {
    if curves.len() < 2 {
        return String::new();
    }
    let mut list = String::from("\n<ul class=\"legend\">\n");
    for Curve { name, colour: RGBColor(red, green, blue), is_dashed, .. } in curves {
        let class = if *is_dashed { " class=\"dashed\"" } else { "" };
        let _ = writeln!(
            list,
            "<li><i{class} style=\"border-color:#{red:02x}{green:02x}{blue:02x}\"></i>{name}</li>"
        );
    }
    list + "</ul>\n"
}

fn draw_curves<'a, X, Y>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>,
    curves: &[Curve],
) -> Result<(), Box<dyn Error>>
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    for curve in curves {
        let style = curve.colour.stroke_width(2);
        let points = curve.points.iter().copied();
        if curve.is_dashed {
            chart.draw_series(DashedLineSeries::new(points, 6, 4, style))?;
        } else {
            chart.draw_series(LineSeries::new(points, style))?;
        }
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
    use crate::stress::measure::{Counts, Latencies, record};

    fn curves(outcomes: &[Outcome]) -> Vec<Curve> {
        curves_over_time(outcomes, "rate", |interval| per_second(interval, interval.counts.answered))
    }

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
            connections: 1,
            latency: None,
        };
        let phases = ["ramp", "warmup", "measure", "measure", "measure", "drain"];
        outcome.intervals = (0..).zip(phases).map(|(number, phase)| interval(number, phase)).collect();
        assert_eq!(measured_part(&outcome), Some(2.0..5.0));
        let curves = curves(std::slice::from_ref(&outcome));
        assert_eq!(curves[0].points.last(), Some(&(4.5, 100.0)));
        let shade = |measured: Option<Range<f64>>| {
            rate_chart(&curves, &measured.unwrap()).unwrap().contains("opacity=\"0.08\"")
        };
        assert!(shade(Some(2.0..5.0)) && !shade(Some(0.0..5.0)));
    }

    #[test]
    fn an_axis_has_a_few_labels_whatever_its_range() {
        for low in [1e-6, 0.00033, 0.29, 1.0, 2.05, 9.9, 4711.0] {
            for ratio in [2.5, 3.0, 5.0, 7.0, 20.0, 1e3, 1e6] {
                let steps = steps(low, low * ratio);
                assert!(
                    (FEWEST_LABELS..=LABELS).contains(&steps.len()),
                    "{low} to {}: {steps:?}",
                    low * ratio
                );
                assert!(steps.is_sorted());
            }
        }
        assert_eq!(steps(0.2, 2.4), [0.2, 0.5, 1.0, 2.0]);
    }

    #[test]
    fn curves_of_one_run_have_one_colour_and_a_legend_beside_them() {
        let mut outcome = Outcome::default();
        let Latencies { service, due, .. } = &mut outcome.latencies;
        record(service, Duration::from_millis(3));
        record(due, Duration::from_millis(3));
        let outcomes: Vec<Outcome> =
            (0..8).map(|_| Outcome { latencies: outcome.latencies.clone(), ..Outcome::default() }).collect();
        let curves = latency_curves(&outcomes);
        assert_eq!(curves.len(), 16);
        for pair in curves.chunks(2) {
            assert_eq!(pair[0].colour, pair[1].colour);
            assert!(pair[0].is_dashed && !pair[1].is_dashed);
        }
        let mut colours: Vec<RGBColor> = curves.iter().map(|curve| curve.colour).collect();
        colours.sort_by_key(|colour| (colour.0, colour.1, colour.2));
        colours.dedup();
        assert_eq!(colours.len(), 8, "each run has its own");
        let page = latency_chart(&curves).unwrap();
        let (picture, legend) = page.split_once("</svg>").unwrap();
        assert!(legend.contains("service time, run 8") && !picture.contains("run 8"));
    }

    #[test]
    fn a_run_of_one_interval_has_a_rate_too() {
        let mut outcome = Outcome::default();
        let interval = |start, length, phase| Interval {
            start: Duration::from_millis(start),
            length: Duration::from_millis(length),
            phase,
            counts: Counts { answered: length, ..Counts::default() },
            connections: 1,
            latency: None,
        };
        outcome.intervals = vec![interval(0, 40, "measure")];
        assert_eq!(curves(std::slice::from_ref(&outcome))[0].points, [(0.0, 1000.0), (0.04, 1000.0)]);
        // The measurement is shorter than the intervals before it.
        outcome.intervals = vec![interval(0, 100, "warmup"), interval(100, 40, "measure")];
        assert_eq!(curves(std::slice::from_ref(&outcome))[0].points, [(0.05, 1000.0), (0.12, 1000.0)]);
    }

    #[test]
    fn no_text_becomes_markup() {
        assert_eq!(escape("<script>&\""), "&lt;script&gt;&amp;&quot;");
    }
}
