//! Converts pictures from and to the numpy arrays of the course's programs.

use super::{Picture, PictureError};
use crate::wire::pickle::{self, Array};

/// Makes a picture of an array: grey (two dimensions, or three with one channel), BGR,
/// or BGRA, whose alpha is ignored as OpenCV ignores it.
pub fn from_array(array: &Array) -> Result<Picture, PictureError> {
    let Array { height, width, channels, data, .. } = *array;
    let too_large = || PictureError::TooLarge { width, height, limit: super::bytes(u16::MAX, u16::MAX) };
    let columns = u16::try_from(width).map_err(|_| too_large())?;
    let rows = u16::try_from(height).map_err(|_| too_large())?;
    let bgr = match channels {
        3 if array.is_row_major() => data.to_vec(),
        1 | 3 | 4 => {
            let mut bgr = Vec::with_capacity(width * height * 3);
            for row in 0..height {
                for column in 0..width {
                    let channel = |number| array.element(row, column, if channels == 1 { 0 } else { number });
                    bgr.extend_from_slice(&[channel(0), channel(1), channel(2)]);
                }
            }
            bgr
        }
        _ => return Err(PictureError::Channels(channels)),
    };
    Picture::new(columns, rows, bgr).ok_or_else(|| PictureError::Damaged("it has no pixels".into()))
}

/// Makes the pickle that numpy loads as a picture's array: height × width × 3, writable.
pub fn to_pickle(picture: &Picture) -> Vec<u8> {
    let mut out = Vec::with_capacity(pickle::OVERHEAD + picture.bgr().len());
    pickle::write(picture.height(), picture.width(), picture.bgr(), &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An array of 2 × 3 pixels, row by row.
    fn array(data: &[u8], channels: usize) -> Array<'_> {
        Array { data, height: 2, width: 3, channels, strides: [3 * channels, channels, 1] }
    }

    #[test]
    fn arrays_in_either_order_give_the_same_picture() {
        let by_row: Vec<u8> = (0..18).collect();
        let by_column = [0, 9, 3, 12, 6, 15, 1, 10, 4, 13, 7, 16, 2, 11, 5, 14, 8, 17];
        let picture = from_array(&array(&by_row, 3)).unwrap();
        assert_eq!(picture, from_array(&Array { strides: [1, 2, 6], ..array(&by_column, 3) }).unwrap());
        assert_eq!((picture.width(), picture.height(), picture.bgr()), (3, 2, &by_row[..]));
    }

    #[test]
    fn grey_and_alpha_become_three_channels() {
        let grey = from_array(&array(&[1, 2, 3, 4, 5, 6], 1)).unwrap();
        assert_eq!(grey.bgr()[..6], [1, 1, 1, 2, 2, 2]);
        let with_alpha: Vec<u8> = (0..24).collect();
        let colour = from_array(&array(&with_alpha, 4)).unwrap();
        assert_eq!(colour.bgr()[..6], [0, 1, 2, 4, 5, 6]);
    }

    #[test]
    fn two_channels_and_rows_beyond_16_bits_are_refused() {
        assert_eq!(from_array(&array(&[0; 12], 2)), Err(PictureError::Channels(2)));
        let wide = vec![0; 65_536 * 3];
        let wide = Array { data: &wide, height: 1, width: 65_536, channels: 3, strides: [65_536 * 3, 3, 1] };
        assert!(matches!(from_array(&wide), Err(PictureError::TooLarge { width: 65_536, .. })));
    }

    #[test]
    fn a_picture_survives_its_pickle() {
        let picture = Picture::new(3, 2, (0..18).collect()).unwrap();
        let pickled = to_pickle(&picture);
        assert_eq!(from_array(&pickle::recognize(&pickled, 18).unwrap()).unwrap(), picture);
    }
}
