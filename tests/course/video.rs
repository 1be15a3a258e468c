//! The course's video programs, with numpy 1 and 2: `.ci/run` makes a virtual environment
//! for each, `target/venv/numpy-1` and `numpy-2`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::Trial;

use crate::program::Program;
use crate::support::Daemon;
use crate::trials::trial;

/// A test with one generation of numpy.
type Test = fn(&Path);

const TESTS: &[(&str, Test)] = &[
    ("video_publisher and video_viewer against video", frames_in_pickles_are_relayed),
    ("udp_video_sender and video_viewer against video", frames_in_datagrams_are_relayed),
    (
        "video_viewer against a video service that takes its frames from another",
        frames_go_from_service_to_service,
    ),
];

pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for generation in [1, 2] {
        let python = python(generation);
        let obstacle = obstacle(&python, generation);
        for (name, test) in TESTS {
            let (name, python) = (format!("{name}, with numpy {generation}"), python.clone());
            trials.push(trial(name, obstacle.clone(), move || test(&python)));
        }
    }
    trials
}

fn python(generation: u8) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/venv/numpy-{generation}/bin/python"))
}

fn obstacle(python: &Path, generation: u8) -> Option<String> {
    let check = format!("import numpy; assert numpy.__version__.startswith('{generation}.')");
    let mut command = Command::new(python);
    command.args(["-c", &check]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let runs = command.status().is_ok_and(|status| status.success());
    (!runs).then(|| format!("numpy {generation} is not installed in {}", python.display()))
}

fn run(python: &Path, program: &str, at: SocketAddr) -> Program {
    Program::python_of(python, program, &at.ip().to_string(), at.port(), &[])
}

/// A line of the viewer about a frame that came as it was sent.
fn seen(number: u8) -> String {
    format!("{number}번 프레임: (480, 640, 3) uint8 True")
}

/// Has a publisher send frames one by one, and a viewer see each.
fn relays(mut publisher: Program, viewer: Program) {
    viewer.shows(&["연결됨"]);
    let mut lines = vec!["연결됨".to_owned()];
    for number in [1, 2, 0] {
        publisher.types(&number.to_string());
        lines.push(seen(number));
        if number > 0 {
            viewer.shows(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
    viewer.ends_with(&lines.iter().map(|line| format!("{line}\n")).collect::<String>());
    publisher.ends_with("1번 보냄\n2번 보냄\n0번 보냄\n");
}

const PICKLES: &str = "[services.video]\ntcp = 0\nudp = 0\nsource = \"publish\"\nencoding = \"pickle\"\n";

fn frames_in_pickles_are_relayed(python: &Path) {
    let daemon = Daemon::with_config("course-video", PICKLES);
    let viewer = run(python, "video_viewer", daemon.tcp("video"));
    viewer.shows(&["연결됨"]);
    relays(run(python, "video_publisher", daemon.tcp("video")), viewer);
}

fn frames_in_datagrams_are_relayed(python: &Path) {
    let daemon = Daemon::with_config("course-video-udp", PICKLES);
    let viewer = run(python, "video_viewer", daemon.tcp("video"));
    viewer.shows(&["연결됨"]);
    relays(run(python, "udp_video_sender", daemon.udp("video")), viewer);
}

fn frames_go_from_service_to_service(python: &Path) {
    let text = "[services.video]\ntcp = 0\nsource = \"publish\"\n\
                [services.pickles]\nkind = \"video\"\ntcp = 0\nsource = \"service:video\"\nencoding = \"pickle\"\n";
    let daemon = Daemon::with_config("course-video-two", text);
    let viewer = run(python, "video_viewer", daemon.tcp("pickles"));
    viewer.shows(&["연결됨"]);
    relays(run(python, "video_publisher", daemon.tcp("video")), viewer);
}
