//! What is shown at the moment, in the forms that somebody wants.

use std::time::Instant;

use super::frames::Form;
use super::material::{Coded, Material};

/// The newest frame, and the forms of it that are ready.
///
/// [`Screen::show`] takes each new frame. [`Screen::begin_coding`] says whether a form of it is
/// to be made now, and [`Screen::coded`] takes that when it is. At most one frame per form
/// is in the works: one that comes meanwhile replaces the one that waits.
#[derive(Debug, Default)]
pub(super) struct Screen {
    newest: Option<Shown>,
    /// How many frames there were.
    count: u64,
    /// Frames up to this number are forgotten.
    forgotten: u64,
    jpeg: Works,
    raw: Works,
}

/// A frame on the screen.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub number: u64,
    pub published: Instant,
    pub material: Material,
}

/// One form.
#[derive(Debug, Default)]
struct Works {
    /// A frame is being coded.
    is_busy: bool,
    /// The latest frame that is ready, with its number.
    ready: Option<(u64, Coded)>,
    /// The latest frame that could not be coded; it is not tried again.
    failed: u64,
}

impl Screen {
    /// Shows a frame in place of the one before, and returns its number.
    pub fn show(&mut self, material: Material, published: Instant) -> u64 {
        self.count += 1;
        let number = self.count;
        if let Some(coded) = material.ready() {
            let form = coded.form();
            self.works(form).ready = Some((number, coded));
        }
        self.newest = Some(Shown { number, published, material });
        number
    }

    /// Forgets the frame. False if there was none.
    pub fn go_dark(&mut self) -> bool {
        self.forgotten = self.count;
        self.jpeg.ready = None;
        self.raw.ready = None;
        self.newest.take().is_some()
    }

    pub fn newest(&self) -> Option<&Shown> {
        self.newest.as_ref()
    }

    /// The newest frame in a form, if that is ready.
    pub fn ready(&self, form: Form) -> Option<&Coded> {
        let newest = self.newest.as_ref()?.number;
        let works = if form == Form::Jpeg { &self.jpeg } else { &self.raw };
        works.ready.as_ref().filter(|(number, _)| *number == newest).map(|(_, coded)| coded)
    }

    /// The frame to make a form of now. Call it only if somebody wants that form.
    pub fn begin_coding(&mut self, form: Form) -> Option<Shown> {
        if self.ready(form).is_some() {
            return None;
        }
        let newest = self.newest.clone()?;
        let works = self.works(form);
        if works.is_busy || works.failed == newest.number {
            return None;
        }
        works.is_busy = true;
        Some(newest)
    }

    /// A form is made, or could not be made. Returns whether it is to be shown: not if it
    /// was forgotten, or a later frame was quicker.
    pub fn coded(&mut self, form: Form, number: u64, coded: Option<Coded>) -> bool {
        let is_forgotten = number <= self.forgotten;
        let works = self.works(form);
        works.is_busy = false;
        let Some(coded) = coded else {
            works.failed = works.failed.max(number);
            return false;
        };
        if is_forgotten || works.ready.as_ref().is_some_and(|(ready, _)| *ready > number) {
            return false;
        }
        works.ready = Some((number, coded));
        true
    }

    /// Nothing is in the works any more.
    pub fn gave_up(&mut self) {
        self.jpeg.is_busy = false;
        self.raw.is_busy = false;
    }

    fn works(&mut self, form: Form) -> &mut Works {
        match form {
            Form::Jpeg => &mut self.jpeg,
            Form::Raw => &mut self.raw,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::video::frames::Raw;
    use crate::services::video::material::Jpeg;

    fn jpeg() -> Material {
        Material::Jpeg(Jpeg::of(b"\xFF\xD8\xFF\xD9"))
    }

    fn raw() -> Coded {
        Coded::Raw(Raw::new(1, 1, &[1, 2, 3]))
    }

    #[test]
    fn one_frame_per_form_is_in_the_works_and_the_newest_comes_next() {
        let (mut screen, now) = (Screen::default(), Instant::now());
        screen.show(jpeg(), now);
        assert!(screen.ready(Form::Jpeg).is_some() && screen.begin_coding(Form::Jpeg).is_none());
        assert_eq!(screen.begin_coding(Form::Raw).unwrap().number, 1);
        screen.show(jpeg(), now);
        screen.show(jpeg(), now);
        assert!(screen.begin_coding(Form::Raw).is_none());
        assert!(screen.coded(Form::Raw, 1, Some(raw())));
        assert!(screen.ready(Form::Raw).is_none());
        assert_eq!(screen.begin_coding(Form::Raw).unwrap().number, 3);
        assert!(screen.coded(Form::Raw, 3, Some(raw())) && screen.ready(Form::Raw).is_some());
        assert!(screen.begin_coding(Form::Raw).is_none());
    }

    #[test]
    fn what_was_being_coded_when_it_went_dark_is_not_shown() {
        let (mut screen, now) = (Screen::default(), Instant::now());
        screen.show(jpeg(), now);
        let number = screen.begin_coding(Form::Raw).unwrap().number;
        assert!(screen.go_dark() && !screen.go_dark());
        assert!(screen.newest().is_none() && screen.begin_coding(Form::Raw).is_none());
        assert!(!screen.coded(Form::Raw, number, Some(raw())));
        screen.show(jpeg(), now);
        assert_eq!(screen.begin_coding(Form::Raw).unwrap().number, 2);
    }

    #[test]
    fn a_frame_that_cannot_be_coded_is_not_tried_again() {
        let (mut screen, now) = (Screen::default(), Instant::now());
        screen.show(jpeg(), now);
        let number = screen.begin_coding(Form::Raw).unwrap().number;
        assert!(!screen.coded(Form::Raw, number, None));
        assert!(screen.begin_coding(Form::Raw).is_none());
        screen.show(jpeg(), now);
        assert!(screen.begin_coding(Form::Raw).is_some());
    }

    #[test]
    fn a_frame_that_came_ready_is_not_replaced_by_one_that_was_in_the_works() {
        let (mut screen, now) = (Screen::default(), Instant::now());
        screen.show(Material::Raw(Raw::new(1, 1, &[1, 2, 3])), now);
        let number = screen.begin_coding(Form::Jpeg).unwrap().number;
        screen.show(jpeg(), now);
        let Material::Jpeg(late) = jpeg() else { unreachable!() };
        assert!(!screen.coded(Form::Jpeg, number, Some(Coded::Jpeg(late))));
        assert!(screen.ready(Form::Jpeg).is_some());
    }
}
