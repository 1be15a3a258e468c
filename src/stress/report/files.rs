//! The files that a run writes. None that exists is overwritten unless asked to;
//! what is no regular file (a pipe, a terminal, a device) has nothing to lose.
//! `-` is standard output, for one of them.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Reporter;
use super::place::Place;
use super::writer::Writer;

/// Where to write what.
#[derive(Debug, Args)]
pub struct Files {
    /// Write the summary there, as JSON (docs/stress.md tells its fields); - is
    /// standard output, for any of these four
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write one line of JSON there for each interval
    #[arg(long, value_name = "FILE")]
    ndjson: Option<PathBuf>,
    /// Write an HdrHistogram interval log there
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,
    /// Write a page there with the latency curve and the rate over time
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Overwrite these files if they exist
    #[arg(long)]
    force: bool,
}

/// The files of a run: those that grow with it are open, and the others are
/// known to be writable.
#[derive(Debug)]
pub struct Outputs {
    pub json: Option<Place>,
    pub report: Option<Place>,
    growing: Vec<Place>,
}

impl Files {
    /// Checks that all can be written, before anything is measured, and opens
    /// those that are written on the way.
    ///
    /// # Errors
    /// A sentence for the user. Nothing is left behind then.
    pub fn open(&self) -> Result<(Reporter, Outputs), String> {
        let place = |name: &Option<PathBuf>| {
            name.as_deref().map(|name: &Path| Place::new(name, self.force)).transpose()
        };
        let (json, report) = (place(&self.json)?, place(&self.report)?);
        let (ndjson, hdr) = (place(&self.ndjson)?, place(&self.hdr)?);
        let all: Vec<&Place> = [&json, &ndjson, &hdr, &report].into_iter().flatten().collect();
        for (number, place) in all.iter().enumerate() {
            if all[..number].iter().any(|other| other.is_same(place)) {
                return Err(match place.is_stdout() {
                    true => "only one file can go to standard output: give the others names".into(),
                    false => format!("{} is to be written twice: give each file its own", place.name()),
                });
            }
        }
        [&json, &report].into_iter().flatten().try_for_each(Place::probe)?;
        let open = |place: &Option<Place>| {
            let writer = |place: &Place| {
                let file = place.open()?;
                Writer::new(place.name(), file).inspect_err(|_| place.take_back())
            };
            place.as_ref().map(writer).transpose()
        };
        let lines = open(&ndjson)?;
        let log = open(&hdr).inspect_err(|_| ndjson.iter().for_each(Place::take_back))?;
        let growing = [ndjson, hdr].into_iter().flatten().collect();
        Ok((Reporter::new(lines, log), Outputs { json, report, growing }))
    }
}

impl Outputs {
    /// Whether standard output is for one of the files, and for nothing else.
    pub fn take_stdout(&self) -> bool {
        self.growing.iter().chain(&self.json).chain(&self.report).any(Place::is_stdout)
    }

    /// Removes the files that were made for a run which measured nothing, so
    /// that they are not in the way of the next try.
    pub fn take_back(&self) {
        self.growing.iter().for_each(Place::take_back);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_neither_refused_nor_removed() {
        let device = Some(PathBuf::from("/dev/null"));
        let mut files = Files { json: device.clone(), ndjson: None, hdr: None, report: None, force: false };
        let (_, outputs) = files.open().unwrap();
        assert!(!outputs.take_stdout());
        outputs.json.unwrap().write("text").unwrap();
        (files.json, files.hdr) = (None, device);
        let (_, outputs) = files.open().unwrap();
        outputs.take_back();
        assert!(Path::new("/dev/null").exists());
        files.hdr = Some(std::env::temp_dir());
        assert!(files.open().is_err_and(|why| why.contains("is a folder")));
        (files.json, files.hdr) = (Some("-".into()), Some("/dev/stdout".into()));
        assert!(files.open().is_err_and(|why| why.contains("only one file")));
    }

    #[test]
    fn a_refused_run_leaves_nothing_behind() {
        let folder = std::env::temp_dir().join(format!("onepoll-stress-refused-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let lines = folder.join("lines");
        let refused = |hdr: &str, json: &str| {
            let [ndjson, hdr, json] = [&lines, Path::new(hdr), Path::new(json)].map(|path| Some(path.into()));
            let files = Files { json, ndjson, hdr, report: None, force: false };
            let why = files.open().unwrap_err();
            assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "{why}");
        };
        refused("/proc/self/log", "/dev/null");
        refused("/dev/null", "/proc/self/summary");
        refused("/dev/null", &folder.join("./lines").display().to_string());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
