//! How a store holds numbers: float32, float32 without the digits that mean nothing, or int16 with a scale; the codec of
//! its chunks; and how many of them share an object.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Standard deviations have a step of so much of that of the means, unless one is given.
pub(super) const SD_SHARE: f64 = 0.1;

/// Type of stored means and standard deviations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Dtype {
    /// Four bytes.
    #[default]
    Float32,
    /// Two bytes with a scale; standard deviations are uint16 with a scale of their own.
    Int16,
}

impl Dtype {
    /// Bytes of one number.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Float32 => 4,
            Self::Int16 => 2,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Float32 => "float32",
            Self::Int16 => "int16",
        })
    }
}

/// Compression of chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Codec {
    /// Blosc with bit shuffling and LZ4: fast.
    #[default]
    BloscLz4,
    /// Blosc with bit shuffling and LZ4HC: slower to write, as fast to read.
    BloscLz4hc,
    /// Blosc with bit shuffling and Zstandard: smaller.
    BloscZstd,
    /// Blosc with bit shuffling and zlib, for readers that know no other.
    BloscZlib,
    /// Zstandard alone, without shuffling.
    Zstd,
    /// No compression.
    None,
}

impl Codec {
    /// The name of the compressor inside Blosc; none of codecs without it.
    #[cfg(feature = "zarr")]
    pub(crate) fn blosc(self) -> Option<&'static str> {
        match self {
            Self::BloscLz4 => Some("lz4"),
            Self::BloscLz4hc => Some("lz4hc"),
            Self::BloscZstd => Some("zstd"),
            Self::BloscZlib => Some("zlib"),
            Self::Zstd | Self::None => None,
        }
    }

    /// Smallest, largest and usual level; none without compression.
    pub(super) fn levels(self) -> Option<(u8, u8, u8)> {
        match self {
            Self::Zstd => Some((1, 22, 3)),
            Self::None => None,
            _ => Some((1, 9, 5)),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BloscLz4 => "blosc_lz4",
            Self::BloscLz4hc => "blosc_lz4hc",
            Self::BloscZstd => "blosc_zstd",
            Self::BloscZlib => "blosc_zlib",
            Self::Zstd => "zstd",
            Self::None => "none",
        })
    }
}

/// What is stored of means and standard deviations.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum StoredAs {
    /// Float32 as it is.
    #[default]
    Float32,
    /// Float32, rounded to a multiple of the largest power of two that is no larger than this share of the standard
    /// deviation of the same cell. The bits behind it are zero and cost nothing once compressed.
    Rounded {
        /// Share of the standard deviation.
        share: f64,
    },
    /// Whole numbers. Means are int16, `mean = scale * stored + add_offset`, standard deviations uint16,
    /// `sd = sd_scale * stored`, at least one step. -32768 and 65535 are missing.
    Int16 {
        /// Step of the means, in u.
        scale: f64,
        /// What the stored mean 0 stands for, in u.
        add_offset: f64,
        /// Step of the standard deviations, in u.
        sd_scale: f64,
    },
}

/// How a store holds numbers: the keys `dtype`, `scale`, `add_offset`, `sd_scale`, `round`, `codec`, `codec_level` and
/// `dates_per_object` of the table `[output]`.
///
/// ```
/// use rasterfuse::describe::{Codec, Encoding};
/// let small = Encoding::int16(1e-4).codec(Codec::BloscZstd, 5);
/// assert_eq!(small.to_string(), "int16 in steps of 0.0001, sd in steps of 0.00001; blosc_zstd, level 5");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Encoding {
    /// Type and rounding.
    pub values: StoredAs,
    /// Compression.
    pub codec: Codec,
    /// Level of the compression; 0 without.
    pub level: u8,
    /// Dates of a tile that share a file or object, a shard of Zarr v3; 1 where each has its own.
    pub dates_per_object: usize,
}

impl Default for Encoding {
    fn default() -> Self {
        Self::of(StoredAs::Float32)
    }
}

impl Encoding {
    fn of(values: StoredAs) -> Self {
        let codec = Codec::default();
        Self { values, codec, level: codec.levels().map_or(0, |(.., usual)| usual), dates_per_object: 1 }
    }

    /// Float32 as it is: the default.
    #[must_use]
    pub fn float32() -> Self {
        Self::default()
    }

    /// [Rounded](StoredAs::Rounded) float32; a share of 0.01 keeps what is above a hundredth of the standard deviation.
    #[must_use]
    pub fn rounded(share: f64) -> Self {
        Self::of(StoredAs::Rounded { share })
    }

    /// [Whole numbers](StoredAs::Int16) with this step of the means, and a tenth of it for standard deviations.
    #[must_use]
    pub fn int16(scale: f64) -> Self {
        Self::of(StoredAs::Int16 { scale, add_offset: 0.0, sd_scale: scale * SD_SHARE })
    }

    /// Gives whole numbers a step of the standard deviations; changes nothing of float32.
    #[must_use]
    pub fn sd_scale(mut self, step: f64) -> Self {
        if let StoredAs::Int16 { sd_scale, .. } = &mut self.values {
            *sd_scale = step;
        }
        self
    }

    /// Gives whole numbers what a stored mean of 0 stands for; changes nothing of float32.
    #[must_use]
    pub fn add_offset(mut self, offset: f64) -> Self {
        if let StoredAs::Int16 { add_offset, .. } = &mut self.values {
            *add_offset = offset;
        }
        self
    }

    /// Chooses the compression and its level, which means nothing to [`Codec::None`].
    #[must_use]
    pub fn codec(mut self, codec: Codec, level: u8) -> Self {
        (self.codec, self.level) = (codec, level);
        self
    }

    /// Puts so many dates of a tile into one file or object: fewer and larger ones, in Zarr v3 only. 1 gives each date
    /// its own.
    #[must_use]
    pub fn dates_per_object(mut self, dates: usize) -> Self {
        self.dates_per_object = dates;
        self
    }

    /// The type.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        match self.values {
            StoredAs::Int16 { .. } => Dtype::Int16,
            _ => Dtype::Float32,
        }
    }

    /// Every key that is not as by default, with its value: settings of a series.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = match self.values {
            StoredAs::Float32 => Vec::new(),
            StoredAs::Rounded { share } => vec![("output.round", share.to_string())],
            StoredAs::Int16 { scale, add_offset, sd_scale } => vec![
                ("output.dtype", Dtype::Int16.to_string()),
                ("output.scale", scale.to_string()),
                ("output.add_offset", add_offset.to_string()),
                ("output.sd_scale", sd_scale.to_string()),
            ],
        };
        let usual = Self::default();
        if (self.codec, self.level) != (usual.codec, usual.level) {
            settings.push(("output.codec", self.codec.to_string()));
            settings.push(("output.codec_level", self.level.to_string()));
        }
        if self.dates_per_object != usual.dates_per_object {
            settings.push(("output.dates_per_object", self.dates_per_object.to_string()));
        }
        settings
    }
}

/// As a person would say it.
impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.dtype())?;
        match self.values {
            StoredAs::Float32 => {}
            StoredAs::Rounded { share } => write!(f, ", rounded at {share} of the sd")?,
            StoredAs::Int16 { scale, add_offset, sd_scale } => {
                write!(f, " in steps of {scale}")?;
                if add_offset != 0.0 {
                    write!(f, " from {add_offset}")?;
                }
                write!(f, ", sd in steps of {sd_scale}")?;
            }
        }
        write!(f, "; {}", self.codec)?;
        if self.codec.levels().is_some() {
            write!(f, ", level {}", self.level)?;
        }
        match self.dates_per_object {
            0 | 1 => Ok(()),
            dates => write!(f, "; {dates} dates to an object"),
        }
    }
}
