//! Folders of images.

use std::{fs, path::Path};

use expect_test::expect;
use image::{GrayImage, Luma, Rgb, RgbImage};
use tempfile::TempDir;

use super::{all_samples, check_refused, job_with};
use crate::{Contents, ingest};

const DATA: &str = "images = \"pictures\"";
const GREY: &str = "images = \"pictures\"\ncolour = \"grey\"";
const CNN: &str = "preset = \"cnn\"\nchannels = [4]";

/// Five PNG files of 2 x 3 pixels (columns x rows) in each of two classes.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (class, level) in [("cat", 0), ("dog", 100)] {
        let class = folder.path().join("pictures").join(class);
        fs::create_dir_all(&class).expect("a folder");
        for n in 0..5u8 {
            let image = RgbImage::from_fn(2, 3, |_, _| Rgb([level + n, level + n, level + 10 * n]));
            image.save(class.join(format!("{n}.png"))).expect("written");
        }
    }
    folder
}

#[test]
fn folders_are_classes_in_the_order_of_their_names() {
    let folder = folder();
    fs::write(folder.path().join("pictures/cat/notes.txt"), "no image").expect("written");
    let ingested = ingest(&job_with(DATA, CNN), folder.path()).expect("good data");
    let Contents::Labelled { shape, classes, names } = &ingested.contents else { panic!("other contents") };
    assert_eq!((ingested.samples, shape.as_slice(), *classes), (10, &[3, 3, 2][..], 2));
    assert_eq!(names, &["cat", "dog"]);
    assert!(ingested.files.config.contains("\"class_names\": [\n    \"cat\",\n    \"dog\"\n  ]"));
    let expected = |n: u8, level: u8, class| {
        let planes = [level + n, level + n, level + 10 * n].map(|value| [f32::from(value) / 255.0; 6]);
        (planes.concat(), class)
    };
    let cats = (0..5).map(|n| expected(n, 0, 0));
    let all: Vec<_> = cats.chain((0..5).map(|n| expected(n, 100, 1))).collect();
    assert_eq!(all_samples(&ingested), all);
}

#[test]
fn grey_images_have_one_channel() {
    let folder = folder();
    GrayImage::from_pixel(2, 3, Luma([7])).save(folder.path().join("pictures/dog/6.jpg")).expect("written");
    let ingested = ingest(&job_with(GREY, CNN), folder.path()).expect("good data");
    assert_eq!((ingested.samples, ingested.program.inputs()[0].shape.as_slice()), (11, &[1, 3, 2][..]));
    assert!(all_samples(&ingested).contains(&(vec![7.0 / 255.0; 6], 1)));
}

#[track_caller]
fn check(damage: impl Fn(&Path), expected: expect_test::Expect) {
    let folder = folder();
    damage(&folder.path().join("pictures"));
    check_refused(&job_with(DATA, CNN), folder.path(), &expected);
}

#[test]
fn a_missing_folder_is_named() {
    check(
        |pictures| fs::rename(pictures, pictures.with_extension("old")).expect("renamed"),
        expect![
            "cannot read the data file FOLDER/pictures; check data.images in the job file: No such file or directory (os error 2)"
        ],
    );
}

#[test]
fn an_image_of_another_size_is_refused() {
    check(
        |pictures| RgbImage::new(2, 2).save(pictures.join("dog/1.png")).expect("written"),
        expect!["FOLDER/pictures/dog/1.png is 2 x 2 pixels, the images before it are 2 x 3; bring all to one size"],
    );
}

#[test]
fn classes_need_images() {
    check(
        |pictures| fs::create_dir(pictures.join("bird")).expect("a folder"),
        expect!["FOLDER/pictures/bird holds no PNG or JPEG file; add images of this class or remove the folder"],
    );
    let only_files = |pictures: &Path| {
        fs::remove_dir_all(pictures.join("dog")).expect("removed");
        fs::remove_dir_all(pictures.join("cat")).expect("removed");
    };
    check(
        only_files,
        expect!["FOLDER/pictures holds no folders; make one folder for each class and put its PNG or JPEG files there"],
    );
    check(
        |pictures| fs::remove_dir_all(pictures.join("dog")).expect("removed"),
        expect!["pictures: every sample has class 0; there is nothing to tell apart until a second class is added"],
    );
}

#[test]
fn a_damaged_image_is_refused() {
    check(
        |pictures| {
            let path = pictures.join("cat/2.png");
            let bytes = fs::read(&path).expect("an image");
            fs::write(path, &bytes[..40]).expect("written");
        },
        expect![
            "cannot decode the image FOLDER/pictures/cat/2.png; save it again as PNG or remove it: unexpected end of file"
        ],
    );
    check(
        |pictures| fs::write(pictures.join("cat/2.png"), "no image").expect("written"),
        expect![
            "cannot decode the image FOLDER/pictures/cat/2.png; save it again as PNG or remove it: Format error decoding Png: Invalid PNG signature."
        ],
    );
}
