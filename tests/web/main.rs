//! The web service on real sockets, as curl, Prometheus's promtool and Chromium see it.
//!
//! Where one of them is missing, its tests are reported as ignored.

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/trials.rs"]
mod trials;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use libtest_mimic::Arguments;
use onepoll::config::{Config, Overrides};
use onepoll::hosting;
use onepoll::media::{jpeg, pattern::Pattern};
use onepoll::service::{Context, Message, Service};
use onepoll::services::CATALOG;
use onepoll::services::video::frames::{Frame, Subscribe, Unsubscribe};
use support::{Daemon, PATIENCE, Running};
use trials::trial;

type Test = (&'static str, &'static str, fn());

const TESTS: [Test; 9] = [
    ("curl", "curl gets the page, each part of it and what there is beside it", pages),
    ("curl", "curl asks on one connection as long as nothing is wrong", one_connection),
    ("curl", "curl resumes a download and saves it under its Korean name", downloads),
    ("curl", "curl keeps a file that has not changed", unchanged),
    ("curl", "curl is refused a name that is not ours", other_names),
    ("promtool", "promtool finds nothing wrong with the metrics", metrics),
    ("python3", "python's http.client reads answers that come in pieces", python_reads),
    ("", "a viewer that stops reading holds nobody up, and a drain ends its stream", a_drain_ends_streams),
    ("chromium", "chromium shows a picture that moves and numbers that rise", the_page_lives),
];

fn main() -> ExitCode {
    let trials = TESTS.map(|(program, name, test)| {
        let obstacle = (!program.is_empty() && !exists(program)).then(|| format!("there is no {program}"));
        trial(name, obstacle, test)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

fn exists(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A daemon that serves this folder of files.
struct Site {
    daemon: Daemon,
    folder: PathBuf,
}

impl Site {
    fn new(name: &str) -> Site {
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("web-{name}-{}", std::process::id()));
        // There may be one of an earlier process of the same number.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let config =
            format!("[services.web]\ntcp = 0\nroot = {:?}\n[services.echo]\ntcp = 0\n", folder.display());
        Site { daemon: Daemon::with_config(&format!("web-{name}"), &config), folder }
    }

    fn address(&self) -> SocketAddr {
        self.daemon.tcp("web")
    }

    /// What curl prints, if it succeeds.
    fn curl(&self, path: &str, arguments: &[&str]) -> String {
        let url = format!("http://{}{path}", self.address());
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "30"])
            .args(arguments)
            .arg(url);
        let output = command.output().unwrap();
        let (out, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{path} {arguments:?}: {errors}{out}");
        out.into_owned()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn pages() {
    let site = Site::new("pages");
    fs::write(site.folder.join("<b>&\"'.txt"), "harmless").unwrap();
    assert_eq!(site.curl("/healthz", &[]), "ok\n");
    assert!(site.curl("/", &[]).contains("<title>onepoll</title>"));
    let list = site.curl("/files/", &[]);
    assert!(list.contains("&lt;b&gt;&amp;&quot;&#39;.txt") && !list.contains("<b>"), "{list}");
    for (path, status) in [("/app.js", "200"), ("/style.css", "200"), ("/icon.svg", "200"), ("/x", "404")] {
        assert_eq!(
            site.curl(path, &["--output", "/dev/null", "--write-out", "%{http_code}"]),
            status,
            "{path}"
        );
    }
    let head = site.curl("/", &["--head"]);
    assert!(head.contains("Content-Security-Policy: default-src 'none';"), "{head}");
    assert!(!head.contains("unsafe-inline"), "{head}");
    let events = Command::new("curl")
        .args(["--silent", "--noproxy", "*", "--max-time", "3", &format!("http://{}/events", site.address())])
        .output()
        .unwrap();
    let events = String::from_utf8(events.stdout).unwrap();
    let of_echo = |event: &str| event.contains("\"name\":\"echo\"");
    let count = events.split("event: services\n").filter(|event| of_echo(event)).count();
    assert!((2..=5).contains(&count), "{count} events in three seconds: {events}");
}

fn one_connection() {
    let site = Site::new("one");
    let made = |paths: &[&str], arguments: &[&str]| {
        let urls: Vec<String> = paths.iter().map(|path| format!("http://{}{path}", site.address())).collect();
        let mut command = Command::new("curl");
        command.args(["--silent", "--noproxy", "*", "--write-out", "%{num_connects}\n"]).args(arguments);
        for url in &urls {
            command.args(["--output", "/dev/null", url]);
        }
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let paths = ["/", "/healthz", "/files/", "/files/welcome.txt", "/metrics", "/nothing"];
    assert_eq!(made(&paths, &[]), "1\n0\n0\n0\n0\n0\n");
    assert_eq!(made(&paths[..2], &["--header", "Connection: close"]), "1\n1\n");
}

fn downloads() {
    let site = Site::new("downloads");
    let contents: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(site.folder.join("강의 영상.mp4"), &contents).unwrap();
    let taken = site.folder.join("taken");
    fs::create_dir(&taken).unwrap();
    let directory = taken.to_str().unwrap();
    let path = "/files/%EA%B0%95%EC%9D%98%20%EC%98%81%EC%83%81.mp4";
    // curl reads only the plain file name; browsers read the other one.
    site.curl(path, &["--remote-name", "--remote-header-name", "--output-dir", directory]);
    let saved = fs::read_dir(&taken).unwrap().next().unwrap().unwrap().path();
    assert!(fs::read(&saved).unwrap() == contents, "{}", saved.display());
    let head = site.curl(path, &["--head"]);
    let name = "filename*=UTF-8''%EA%B0%95%EC%9D%98%20%EC%98%81%EC%83%81.mp4";
    assert!(head.contains(name), "{head}");
    let part = taken.join("part");
    fs::write(&part, &contents[..5_000_001]).unwrap();
    site.curl(path, &["--continue-at", "-", "--output", part.to_str().unwrap()]);
    assert!(fs::read(&part).unwrap() == contents, "the rest does not fit");
    assert_eq!(site.curl(path, &["--range", "0-3", "--output", "-"]).as_bytes(), &contents[..4]);
}

fn unchanged() {
    let site = Site::new("unchanged");
    let file = site.folder.join("a.txt");
    fs::write(&file, "하나").unwrap();
    let tag = site.folder.join("tag");
    let tag = tag.to_str().unwrap();
    let ask = || {
        let compare = ["--etag-compare", tag, "--etag-save", tag, "--write-out", " %{http_code}"];
        site.curl("/files/a.txt", &compare)
    };
    assert_eq!(ask(), "하나 200");
    assert_eq!(ask(), " 304");
    fs::write(&file, "둘").unwrap();
    // A file that was just opened is used again for a second.
    let end = Instant::now() + PATIENCE;
    let mut answer = ask();
    while answer == " 304" && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100));
        answer = ask();
    }
    assert_eq!(answer, "둘 200");
}

fn other_names() {
    let site = Site::new("names");
    let ask = |host: &str| {
        site.curl("/healthz", &["--header", &format!("Host: {host}"), "--write-out", "%{http_code}"])
    };
    assert_eq!(ask("localhost:8000"), "ok\n200");
    let refused = ask("evil.example");
    assert!(refused.contains("does not answer for evil.example") && refused.ends_with("421"), "{refused}");
}

fn metrics() {
    let site = Site::new("metrics");
    site.curl("/nothing", &["--output", "/dev/null"]);
    let text = site.curl("/metrics", &[]);
    let mut check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}\n{text}", String::from_utf8_lossy(&said));
    assert!(text.contains("onepoll_connections{service=\"web\"} 1\n"), "{text}");
}

const READER: &str = "
import http.client, sys
connection = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=30)
for path in ['/healthz', '/files/', '/files/long', '/metrics', '/files/none'] * 3:
    connection.request('GET', path)
    answer = connection.getresponse()
    body = answer.read()
    assert len(body) == int(answer.headers['Content-Length']), path
    print(answer.status, end=' ')
";

fn python_reads() {
    let site = Site::new("python");
    fs::write(site.folder.join("long"), vec![b'x'; 5_000_000]).unwrap();
    let output =
        Command::new("python3").args(["-c", READER, &site.address().port().to_string()]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "200 200 200 200 404 ".repeat(3), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A service that stands for a camera: it shows the test pattern to whoever subscribes.
struct Camera {
    pattern: Pattern,
    to: Option<String>,
    number: u64,
}

const EVERY: Duration = Duration::from_millis(40);

impl Service for Camera {
    type Session = ();

    fn message(&mut self, message: Message, cx: &mut Context<'_>) {
        if let Some(subscribe) = message.downcast_ref::<Subscribe>() {
            self.to = Some(subscribe.to.clone());
            cx.set_tick(cx.now());
        } else if message.is::<Unsubscribe>() {
            self.to = None;
            cx.clear_tick();
        }
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        let Some(to) = &self.to else { return };
        self.number += 1;
        let picture = self.pattern.draw(self.number, "12:34:56");
        let frame = Frame {
            from: "video".into(),
            number: self.number,
            published: cx.now(),
            size: Some((640, 480)),
            jpeg: Some(Bytes::from(jpeg::encode(&picture, 80))),
            raw: None,
        };
        cx.post(to, Box::new(frame));
        cx.set_tick(cx.now() + EVERY);
    }
}

/// The web service and a camera, in a thread of this process.
fn with_camera() -> Running<SocketAddr> {
    Running::start(|reactor| {
        let text =
            "[services.web]\ntcp = 0\n[services.echo]\ntcp = 0\nudp = 0\n[services.chat]\ntcp = 0\nudp = 0\n";
        let config = Config::parse(CATALOG, text, Path::new("web.toml"), &Overrides::default()).unwrap();
        let mut web = None;
        for service in config.services {
            let name = service.name.clone();
            let bound = hosting::host(reactor, service).unwrap();
            if name == "web" {
                web = Some(bound[0].address);
            }
        }
        let camera = Camera { pattern: Pattern::new(640, 480, 25), to: None, number: 0 };
        reactor.host("video", camera).start().unwrap();
        web.unwrap()
    })
}

fn ask(to: SocketAddr, path: &str) -> TcpStream {
    let mut socket = support::connect(to);
    write!(socket, "GET {path} HTTP/1.1\r\nHost: {to}\r\n\r\n").unwrap();
    socket
}

fn a_drain_ends_streams() {
    let running = with_camera();
    let to = running.made;
    let sleeper = ask(to, "/video.mjpg");
    let (mut viewer, mut listener) = (ask(to, "/video.mjpg"), ask(to, "/events"));
    let mut seen = Vec::new();
    while seen.windows(10).filter(|window| window == b"image/jpeg").count() < 30 {
        let mut buffer = [0; 65_536];
        let count = viewer.read(&mut buffer).unwrap();
        assert!(count > 0, "the pictures end");
        seen.extend_from_slice(&buffer[..count]);
    }
    running.remote().drain();
    let begun = Instant::now();
    let mut rest = Vec::new();
    listener.read_to_end(&mut rest).unwrap();
    viewer.read_to_end(&mut rest).unwrap();
    drop(sleeper);
    running.finish();
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
}

fn the_page_lives() {
    let running = with_camera();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web/browser.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(format!("http://{}/", running.made));
    // Where screenshots go, for whoever changes the page.
    command.args(std::env::var_os("ONEPOLL_SCREENSHOTS"));
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let seen: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(seen["pictures"].as_u64() >= Some(3), "the picture does not move: {seen}");
    assert!(seen["numbers"].as_u64() >= Some(3), "the numbers do not rise: {seen}");
    assert_eq!((&seen["width"], &seen["services"]), (&640.into(), &4.into()), "{seen}");
    assert_eq!((&seen["lost"], &seen["fits"]), (&false.into(), &true.into()), "{seen}");
    assert_eq!(seen["complaints"], serde_json::json!([]), "{seen}");
    assert!(seen["frames"].as_str().unwrap().starts_with("640×480, frame "), "{seen}");
}
