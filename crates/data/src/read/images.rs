//! A folder with one folder of PNG or JPEG files for each class. Classes are numbered in the order
//! of their names, images taken in the order of theirs, so that every machine reads the same.

use std::{
    fs,
    path::{Path, PathBuf},
};

use image::{ImageReader, Limits};
use potluck_protocol::{Colour, limits};

use super::{Labelled, labels::count_classes};
use crate::DataError;

const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];

pub(super) fn read(base: &Path, folder: &str, colour: Colour) -> Result<Labelled, DataError> {
    let root = base.join(folder);
    let mut read =
        Labelled { shape: Vec::new(), values: Vec::new(), labels: Vec::new(), classes: 0, names: Vec::new() };
    for class in entries(&root)?.into_iter().filter(|path| path.is_dir()) {
        let name = class.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let images: Vec<PathBuf> = entries(&class)?.into_iter().filter(|path| is_image(path)).collect();
        if images.is_empty() {
            return Err(DataError::EmptyClass { folder: class });
        }
        let label = read.names.len() as u32; // At most CLASSES_MAX, checked below.
        if label >= limits::CLASSES_MAX {
            return Err(DataError::TooManyClasses { file: folder.to_owned(), max: limits::CLASSES_MAX });
        }
        for path in images {
            add(&mut read, &path, colour, label)?;
        }
        read.names.push(name);
    }
    if read.names.is_empty() {
        return Err(DataError::NoClassFolders { folder: root });
    }
    read.classes = count_classes(folder, &read.labels)?;
    Ok(read)
}

/// What is in a folder, by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let unreadable = |error| DataError::Unreadable { path: folder.to_owned(), key: "data.images", error };
    let listed = fs::read_dir(folder).map_err(unreadable)?;
    let mut paths = listed.map(|entry| Ok(entry.map_err(unreadable)?.path())).collect::<Result<Vec<_>, DataError>>()?;
    paths.sort();
    Ok(paths)
}

fn is_image(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    path.is_file() && ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

fn add(read: &mut Labelled, path: &Path, colour: Colour, label: u32) -> Result<(), DataError> {
    let (shape, values) = decode(path, colour)?;
    if read.shape.is_empty() {
        read.shape = shape;
    } else if read.shape != shape {
        return Err(DataError::ImageSize {
            path: path.to_owned(),
            got: [shape[2], shape[1]],
            expected: [read.shape[2], read.shape[1]],
        });
    }
    if read.values.len() + values.len() > limits::INGEST_VALUES_MAX {
        return Err(DataError::TooManyImages { path: path.to_owned(), max: limits::INGEST_VALUES_MAX });
    }
    read.values.extend(values);
    read.labels.push(label);
    Ok(())
}

/// One image as `[channels, rows, columns]` with values of 0 to 1.
fn decode(path: &Path, colour: Colour) -> Result<(Vec<u32>, Vec<f32>), DataError> {
    let unreadable = |error| DataError::Unreadable { path: path.to_owned(), key: "data.images", error };
    let bad = |error| DataError::BadImage { path: path.to_owned(), error };
    let mut reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format).map_err(unreadable)?;
    let mut bounds = Limits::default();
    // No sample may have more values, so neither side can be longer.
    (bounds.max_image_width, bounds.max_image_height) =
        (Some(limits::FEATURES_MAX as u32), Some(limits::FEATURES_MAX as u32));
    reader.limits(bounds);
    let image = reader.decode().map_err(bad)?;
    let (channels, pixels) = match colour {
        Colour::Grey => (1, image.to_luma8().into_raw()),
        Colour::Rgb => (3, image.to_rgb8().into_raw()),
    };
    let (columns, rows) = (image.width(), image.height());
    if pixels.len() > limits::FEATURES_MAX {
        let (got, max) = (pixels.len() as u64, limits::FEATURES_MAX);
        return Err(DataError::SampleSize { file: path.display().to_string(), got, max });
    }
    // A file holds a pixel's channels side by side, a sample plane by plane.
    let plane = |channel| pixels.iter().skip(channel).step_by(channels).map(|&value| f32::from(value) / 255.0);
    Ok((vec![channels as u32, rows, columns], (0..channels).flat_map(plane).collect()))
}
