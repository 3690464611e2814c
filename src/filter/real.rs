//! Number types of covariances: `f64` and `f32`.

/// Number type of covariances and gains: `f64`, or `f32` with half the memory and, for some hundreds of states,
/// nearly twice the speed.
///
/// Means, innovations and their covariances are always float64.
pub trait Real: sealed::Arithmetic {
    /// Largest ratio of a state's variance to the smallest noise variance that an update allows
    /// ([`State::check_ratio`](super::State::check_ratio)). Beyond it the smaller number is rounded away without
    /// notice.
    const LARGEST_RATIO: f64;
}

impl Real for f64 {
    const LARGEST_RATIO: f64 = f64::INFINITY;
}

impl Real for f32 {
    const LARGEST_RATIO: f64 = 1e6;
}

pub(super) mod sealed {
    /// Operations that the kernels need of a number type.
    pub trait Arithmetic:
        faer::traits::RealField + Copy + Default + PartialEq + std::ops::AddAssign + std::ops::MulAssign
    {
        /// Name of the type, for messages.
        const NAME: &'static str;
        /// Largest loss of a state's variance in one update, relative to the variance before the update.
        const LEAST_VARIANCE_RATIO: f64;
        /// Largest variance before an update, divided by the variance of an innovation given the preceding ones of
        /// its date.
        const LARGEST_CONDITION: f64;

        fn from_f64(value: f64) -> Self;
        fn to_f64(self) -> f64;
        /// Appends the value's little-endian bytes.
        fn append(self, target: &mut Vec<u8>);
        /// The value of these little-endian bytes; NaN when their number is wrong.
        fn parse(bytes: &[u8]) -> Self;
    }

    impl Arithmetic for f64 {
        const NAME: &'static str = "float64";
        // Below this, cancellation in P - W Wᵀ leaves fewer than three digits of the result.
        const LEAST_VARIANCE_RATIO: f64 = 1e-12;
        // A factorisation that fails is an error of its own.
        const LARGEST_CONDITION: f64 = f64::INFINITY;

        fn from_f64(value: f64) -> Self {
            value
        }

        fn to_f64(self) -> f64 {
            self
        }

        fn append(self, target: &mut Vec<u8>) {
            target.extend_from_slice(&self.to_le_bytes());
        }

        fn parse(bytes: &[u8]) -> Self {
            bytes.try_into().map_or(f64::NAN, f64::from_le_bytes)
        }
    }

    impl Arithmetic for f32 {
        const NAME: &'static str = "float32";
        // Correlated cells combine the information of many pixels, so this limit may be reached long before the
        // largest ratio. The error of a standard deviation stays within a few per cent, that of a mean within a few
        // hundredths of the standard deviation.
        const LEAST_VARIANCE_RATIO: f64 = 1e-5;
        // Smooth fields with little noise: neighbours predict each other, and the remainder is lost in rounding.
        const LARGEST_CONDITION: f64 = 1e3;

        fn from_f64(value: f64) -> Self {
            value as f32
        }

        fn to_f64(self) -> f64 {
            f64::from(self)
        }

        fn append(self, target: &mut Vec<u8>) {
            target.extend_from_slice(&self.to_le_bytes());
        }

        fn parse(bytes: &[u8]) -> Self {
            bytes.try_into().map_or(f32::NAN, f32::from_le_bytes)
        }
    }
}
