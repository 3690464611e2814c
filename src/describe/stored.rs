//! The keys of `[output]` that say how numbers are stored, checked: an encoding.

use super::encoding::SD_SHARE;
use super::{Dtype, Encoding, Output, OutputSpace, StoredAs};
use crate::error::{Error, Result};

/// Dates that may share an object: the index at its end is read as a whole.
const MOST_DATES: usize = 4096;

/// Overviews at most: cells of 256 by 256.
const MOST_OVERVIEWS: usize = 8;

impl Output {
    /// How numbers are stored.
    ///
    /// # Errors
    /// [`Error::Setting`] for keys that contradict each other, [`Error::Number`] for steps and levels that cannot be.
    pub fn encoding(&self) -> Result<Encoding> {
        let values = self.stored_as()?;
        if self.space == OutputSpace::Components && values != StoredAs::Float32 {
            let key = if self.round.is_some() { "output.round" } else { "output.dtype" };
            let problem = "not with space = \"components\": covariances of components belong together, and rounded one by one they \
                           may be none; leave it out, and choose a codec";
            return Err(Error::setting(key, problem));
        }
        let codec = self.codec.unwrap_or_default();
        let level = match (codec.levels(), self.codec_level) {
            (Some((least, most, _)), Some(level)) if !(least..=most).contains(&level) => {
                let problem = format!("is no level of {codec}; give {least} to {most}");
                return Err(Error::number("output.codec_level", f64::from(level), problem));
            }
            (Some((.., usual)), level) => level.unwrap_or(usual),
            (None, Some(_)) => {
                return Err(Error::setting(
                    "output.codec_level",
                    format!("means nothing to codec {codec}; leave it out"),
                ));
            }
            (None, None) => 0,
        };
        Ok(Encoding { values, codec, level, dates_per_object: self.shared_by()? })
    }

    /// Number of overviews.
    ///
    /// # Errors
    /// [`Error::Setting`] where components are stored, [`Error::Number`] for more than there may be.
    pub fn overview_levels(&self) -> Result<usize> {
        let (key, levels) = ("output.overviews", self.overviews.unwrap_or(0));
        if levels > MOST_OVERVIEWS {
            return Err(Error::number(key, levels as f64, format!("must be at most {MOST_OVERVIEWS}")));
        }
        if levels > 0 && self.space == OutputSpace::Components {
            let problem =
                "not with space = \"components\": averages of covariances are not those of averages; leave it out";
            return Err(Error::setting(key, problem));
        }
        Ok(levels)
    }

    /// Dates of a tile that share an object.
    fn shared_by(&self) -> Result<usize> {
        let key = "output.dates_per_object";
        match self.dates_per_object {
            None => Ok(1),
            Some(0) => Err(Error::number(key, 0.0, "must be at least 1")),
            Some(dates) if dates > MOST_DATES => {
                Err(Error::number(key, dates as f64, format!("must be at most {MOST_DATES}")))
            }
            Some(dates) if dates > 1 && self.zarr_format == Some(2) => {
                let problem = format!("{dates}, but Zarr v2 has no shards; leave it out, or write zarr_format = 3");
                Err(Error::setting(key, problem))
            }
            Some(dates) => Ok(dates),
        }
    }

    fn stored_as(&self) -> Result<StoredAs> {
        let positive = |key: &'static str, value: f64| {
            let problem = "must be a positive, finite number";
            if value > 0.0 && value.is_finite() { Ok(value) } else { Err(Error::number(key, value, problem)) }
        };
        if self.dtype.unwrap_or_default() == Dtype::Int16 {
            if self.round.is_some() {
                return Err(Error::setting("output.round", "is for float32; scale rounds int16, so leave round out"));
            }
            let Some(scale) = self.scale else {
                let problem = "not given; int16 needs the step of the means in units of the bands, such as 1e-4";
                return Err(Error::setting("output.scale", problem));
            };
            let scale = positive("output.scale", scale)?;
            let sd_scale = positive("output.sd_scale", self.sd_scale.unwrap_or(scale * SD_SHARE))?;
            let add_offset = self.add_offset.unwrap_or(0.0);
            if !add_offset.is_finite() {
                return Err(Error::number("output.add_offset", add_offset, "must be a finite number"));
            }
            return Ok(StoredAs::Int16 { scale, add_offset, sd_scale });
        }
        let packed = [("scale", self.scale), ("add_offset", self.add_offset), ("sd_scale", self.sd_scale)];
        if let Some((key, _)) = packed.into_iter().find(|(_, given)| given.is_some()) {
            return Err(Error::setting(
                format!("output.{key}").as_str(),
                "is for dtype = \"int16\"; give both, or neither",
            ));
        }
        match self.round {
            None => Ok(StoredAs::Float32),
            Some(share) if share > 0.0 && share <= 0.5 => Ok(StoredAs::Rounded { share }),
            Some(share) => {
                let problem = "must be a share of the standard deviation above 0 and at most 0.5, such as 0.01";
                Err(Error::number("output.round", share, problem))
            }
        }
    }

    /// Sets the keys of an encoding.
    pub(crate) fn set_encoding(&mut self, encoding: &Encoding) {
        (self.scale, self.add_offset, self.sd_scale, self.round) = (None, None, None, None);
        self.dtype = Some(encoding.dtype());
        match encoding.values {
            StoredAs::Float32 => {}
            StoredAs::Rounded { share } => self.round = Some(share),
            StoredAs::Int16 { scale, add_offset, sd_scale } => {
                (self.scale, self.add_offset, self.sd_scale) = (Some(scale), Some(add_offset), Some(sd_scale));
            }
        }
        self.codec = Some(encoding.codec);
        self.codec_level = encoding.codec.levels().map(|_| encoding.level);
        self.dates_per_object = Some(encoding.dates_per_object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::describe::Codec;

    #[test]
    fn keys_and_encodings_say_the_same() {
        for encoding in [
            Encoding::float32(),
            Encoding::rounded(0.01).codec(Codec::Zstd, 7).dates_per_object(32),
            Encoding::int16(1e-4).add_offset(0.5).sd_scale(1e-6).codec(Codec::None, 0),
        ] {
            let mut output = Output::default();
            output.set_encoding(&encoding);
            assert_eq!(output.encoding().unwrap(), encoding);
        }
        assert_eq!(Output::default().encoding().unwrap(), Encoding::default());
        assert!(Encoding::default().settings().is_empty());
    }

    #[test]
    fn what_cannot_be_is_refused_by_key() {
        type Change = fn(&mut Output);
        let cases: [(&str, Change); 12] = [
            ("output.scale: not given", |output| output.dtype = Some(Dtype::Int16)),
            ("output.scale", |output| output.scale = Some(1e-4)),
            ("output.sd_scale", |output| output.sd_scale = Some(1e-4)),
            ("output.scale: 0 ", |output| (output.dtype, output.scale) = (Some(Dtype::Int16), Some(0.0))),
            ("output.add_offset: NaN", |output| {
                (output.dtype, output.scale, output.add_offset) = (Some(Dtype::Int16), Some(1.0), Some(f64::NAN));
            }),
            ("output.round: 0.6", |output| output.round = Some(0.6)),
            ("output.round", |output| {
                (output.dtype, output.scale, output.round) = (Some(Dtype::Int16), Some(1e-4), Some(0.01));
            }),
            ("output.codec_level: 12", |output| output.codec_level = Some(12)),
            ("output.codec_level", |output| (output.codec, output.codec_level) = (Some(Codec::None), Some(1))),
            ("output.dates_per_object: 0 must", |output| output.dates_per_object = Some(0)),
            ("zarr_format = 3", |output| (output.dates_per_object, output.zarr_format) = (Some(8), Some(2))),
            ("components", |output| (output.round, output.space) = (Some(0.01), OutputSpace::Components)),
        ];
        for (words, change) in cases {
            let mut output = Output::default();
            change(&mut output);
            let message = output.encoding().unwrap_err().to_string();
            assert!(message.contains(words), "{words}: {message}");
        }
    }
}
