//! A frame as it came, and the forms that are made of it. What takes long here is called
//! in offloaded jobs.

use std::sync::Arc;

use bytes::Bytes;

use super::frames::{Form, Raw};
use crate::media::{Picture, PictureError, convert, jpeg};
use crate::wire::frames::{FrameKind, PREFIX, kind, prefix};
use crate::wire::pickle::recognize;

/// A JPEG as it goes out to TCP viewers: behind its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Jpeg(Bytes);

impl Jpeg {
    pub fn of(jpeg: &[u8]) -> Jpeg {
        let mut message = Vec::with_capacity(PREFIX + jpeg.len());
        message.extend_from_slice(&prefix(jpeg.len()));
        message.extend_from_slice(jpeg);
        Jpeg(message.into())
    }

    /// What a TCP viewer is sent.
    pub fn message(&self) -> Bytes {
        self.0.clone()
    }

    /// The JPEG alone.
    pub fn bytes(&self) -> Bytes {
        self.0.slice(PREFIX..)
    }
}

/// A frame as it came. Clones share its bytes.
#[derive(Debug, Clone)]
pub(super) enum Material {
    Jpeg(Jpeg),
    Raw(Raw),
    /// The pickle of a numpy array that [`Material::of_message`] has recognised.
    Pickle(Bytes),
    Picture(Arc<Picture>),
}

/// A frame in one form.
#[derive(Debug, Clone)]
pub(super) enum Coded {
    Jpeg(Jpeg),
    Raw(Raw),
}

impl Material {
    /// Takes what a publisher sent over TCP, its length in front. Looks at a few bytes
    /// only: at both ends of a JPEG, and at what a pickle says of its array.
    ///
    /// # Errors
    /// The reason why it is no frame, for the log.
    pub fn of_message(message: Vec<u8>, frame_size: usize) -> Result<Material, String> {
        let message = Bytes::from(message);
        let frame = message.slice(PREFIX..);
        match kind(&frame).map_err(|why| why.to_string())? {
            FrameKind::Jpeg => Ok(Material::Jpeg(Jpeg(message))),
            FrameKind::Pickle => {
                let array = recognize(&frame, frame_size).map_err(|why| why.to_string())?;
                if !matches!(array.channels, 1 | 3 | 4) {
                    return Err(PictureError::Channels(array.channels).to_string());
                }
                // A grey array takes three times as much once it is a picture.
                let bytes = array.width.saturating_mul(array.height).saturating_mul(3);
                let sides = usize::from(u16::MAX);
                if bytes > frame_size || array.width > sides || array.height > sides {
                    let (width, height) = (array.width, array.height);
                    return Err(PictureError::TooLarge { width, height, limit: frame_size }.to_string());
                }
                Ok(Material::Pickle(frame))
            }
        }
    }

    /// The form that it has by itself.
    pub fn ready(&self) -> Option<Coded> {
        match self {
            Material::Jpeg(jpeg) => Some(Coded::Jpeg(jpeg.clone())),
            Material::Raw(raw) => Some(Coded::Raw(raw.clone())),
            Material::Pickle(_) | Material::Picture(_) => None,
        }
    }

    /// Makes one form of it, which takes milliseconds.
    ///
    /// # Errors
    /// A JPEG that cannot be decoded, or becomes larger than `frame_size`.
    pub fn code(&self, form: Form, quality: u8, frame_size: usize) -> Result<Coded, PictureError> {
        Ok(match (form, self) {
            (Form::Jpeg, Material::Jpeg(jpeg)) => Coded::Jpeg(jpeg.clone()),
            (Form::Raw, Material::Raw(raw)) => Coded::Raw(raw.clone()),
            (Form::Jpeg, Material::Raw(raw)) => encoded(raw.width(), raw.height(), raw.pixels(), quality),
            (_, Material::Picture(picture)) => of_picture(form, picture, quality),
            (Form::Raw, Material::Jpeg(jpeg)) => {
                of_picture(form, &jpeg::decode(&jpeg.bytes(), frame_size)?, quality)
            }
            (_, Material::Pickle(pickle)) => of_pickle(form, pickle, quality, frame_size)?,
        })
    }
}

impl Coded {
    /// What a TCP viewer is sent.
    pub fn message(&self) -> Bytes {
        match self {
            Coded::Jpeg(jpeg) => jpeg.message(),
            Coded::Raw(raw) => raw.message(),
        }
    }

    pub fn form(&self) -> Form {
        match self {
            Coded::Jpeg(_) => Form::Jpeg,
            Coded::Raw(_) => Form::Raw,
        }
    }
}

fn of_picture(form: Form, picture: &Picture, quality: u8) -> Coded {
    let (width, height, bgr) = (picture.width(), picture.height(), picture.bgr());
    match form {
        Form::Jpeg => encoded(width, height, bgr, quality),
        Form::Raw => Coded::Raw(Raw::new(width, height, bgr)),
    }
}

fn of_pickle(form: Form, pickle: &[u8], quality: u8, frame_size: usize) -> Result<Coded, PictureError> {
    let array = recognize(pickle, frame_size).map_err(|why| PictureError::Damaged(why.to_string()))?;
    Ok(of_picture(form, &convert::from_array(&array)?, quality))
}

fn encoded(width: u16, height: u16, bgr: &[u8], quality: u8) -> Coded {
    let mut message = Vec::with_capacity(bgr.len() / 8);
    message.extend_from_slice(&prefix(0));
    jpeg::append(width, height, bgr, quality, &mut message);
    let length = prefix(message.len() - PREFIX);
    message[..PREFIX].copy_from_slice(&length);
    Coded::Jpeg(Jpeg(message.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::pickle;

    const SIZE: usize = 1 << 20;

    fn message_of(frame: &[u8]) -> Vec<u8> {
        [&prefix(frame.len())[..], frame].concat()
    }

    fn shaded(shade: u8) -> Picture {
        Picture::new(16, 8, vec![shade; 16 * 8 * 3]).unwrap()
    }

    #[test]
    fn a_jpeg_is_ready_as_it_came_and_decoded_for_raw_viewers() {
        let jpeg = jpeg::encode(&shaded(100), 90);
        let material = Material::of_message(message_of(&jpeg), SIZE).unwrap();
        let Some(Coded::Jpeg(ready)) = material.ready() else { panic!("{material:?}") };
        assert_eq!(ready.message(), message_of(&jpeg));
        assert_eq!(ready.bytes(), jpeg);
        let Ok(Coded::Raw(raw)) = material.code(Form::Raw, 80, SIZE) else { panic!("{material:?}") };
        assert_eq!((raw.width(), raw.height()), (16, 8));
        assert!(raw.pixels().iter().all(|value| value.abs_diff(100) < 8));
        assert!(material.code(Form::Raw, 80, 16 * 8 * 3 - 1).is_err());
    }

    #[test]
    fn a_pickle_reaches_raw_viewers_bit_for_bit_and_others_as_a_jpeg() {
        let pixels: Vec<u8> = (0..16 * 8 * 3).map(|at| at as u8).collect();
        let mut pickled = Vec::new();
        pickle::write(8, 16, &pixels, &mut pickled);
        let material = Material::of_message(message_of(&pickled), SIZE).unwrap();
        assert!(material.ready().is_none());
        let Ok(Coded::Raw(raw)) = material.code(Form::Raw, 80, SIZE) else { panic!("{material:?}") };
        assert_eq!(raw.message(), message_of(&pickled));
        let Ok(Coded::Jpeg(jpeg)) = material.code(Form::Jpeg, 80, SIZE) else { panic!("{material:?}") };
        assert_eq!(jpeg.message()[..PREFIX], prefix(jpeg.bytes().len()));
        let decoded = jpeg::decode(&jpeg.bytes(), SIZE).unwrap();
        assert_eq!((decoded.width(), decoded.height()), (16, 8));
    }

    #[test]
    fn what_is_no_frame_is_refused_with_a_reason() {
        let refused = |frame: &[u8]| Material::of_message(message_of(frame), 1000).unwrap_err();
        assert_eq!(refused(b""), "the frame is empty");
        assert_eq!(refused(b"hello"), "the frame is neither a JPEG nor a pickle of protocol 2 or later");
        assert_eq!(refused(b"\xFF\xD8..."), "the frame begins as a JPEG and lacks its end marker (FF D9)");
        assert!(refused(b"\x80\x04\x8c\x02os\x8c\x06system\x93.").starts_with("the pickle names os.system"));
        let mut pickled = Vec::new();
        pickle::write(100, 100, &[0; 30_000], &mut pickled);
        assert_eq!(refused(&pickled), "the array has 30000 bytes, and at most 1000 are allowed");
    }
}
