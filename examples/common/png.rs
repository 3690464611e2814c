//! Small files: pictures have few colours, so they are stored with a palette.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use png::{BitDepth, ColorType, DeflateCompression, Encoder, Filter};

type Colour = [u8; 3];

/// Colours of a palette.
const ROOM: usize = 256;

/// Writes red, green and blue bytes, row by row, as an image of at most 256 colours.
pub(crate) fn write(path: &Path, (width, height): (u32, u32), rgb: &[u8]) -> Result<(), Box<dyn Error>> {
    let (palette, indices) = palette(rgb);
    let mut encoder = Encoder::new(BufWriter::new(File::create(path)?), width, height);
    encoder.set_color(ColorType::Indexed);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_palette(palette.concat());
    encoder.set_deflate_compression(DeflateCompression::Level(9));
    // Neighbouring numbers of a palette are no neighbouring colours.
    encoder.set_filter(Filter::NoFilter);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&indices)?;
    Ok(writer.finish()?)
}

/// The colours that stand for all, and the number of the nearest of them for each pixel.
///
/// Half of them are the most frequent ones; the others are those that would be missed most, by distance and frequency.
pub(crate) fn palette(rgb: &[u8]) -> (Vec<Colour>, Vec<u8>) {
    let pixels = || rgb.chunks_exact(3).map(|pixel| [pixel[0], pixel[1], pixel[2]]);
    let mut counts: HashMap<Colour, usize> = HashMap::new();
    pixels().for_each(|colour| *counts.entry(colour).or_default() += 1);
    let mut colours: Vec<Colour> = counts.keys().copied().collect();
    // Colours of the same frequency in an order of their own, for the same bytes on every run.
    colours.sort_by_key(|colour| (usize::MAX - counts[colour], *colour));
    let mut kept: Vec<Colour> = colours.iter().copied().take(ROOM / 2).collect();
    let nearest = |kept: &[Colour], colour: &Colour| {
        (0_u8..=255).zip(kept).map(|(index, other)| (distance(*colour, *other), index)).min().unwrap_or_default()
    };
    let mut missed: Vec<f64> = colours.iter().map(|colour| f64::from(nearest(&kept, colour).0)).collect();
    while kept.len() < ROOM.min(colours.len()) {
        let loss = |index: usize| missed[index] * (counts[&colours[index]] as f64).sqrt();
        let Some(worst) = (0..colours.len()).max_by(|a, b| loss(*a).total_cmp(&loss(*b))) else { break };
        kept.push(colours[worst]);
        for (missed, colour) in missed.iter_mut().zip(&colours) {
            *missed = missed.min(f64::from(distance(*colour, colours[worst])));
        }
    }
    let numbers: HashMap<Colour, u8> = colours.iter().map(|colour| (*colour, nearest(&kept, colour).1)).collect();
    (kept, pixels().map(|colour| numbers[&colour]).collect())
}

fn distance(a: Colour, b: Colour) -> i32 {
    a.into_iter().zip(b).map(|(a, b)| (i32::from(a) - i32::from(b)).pow(2)).sum()
}
