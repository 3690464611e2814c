/// Number type of covariances and gains: `f64`, or `f32` at half the memory and about twice the speed.
///
/// Means, innovations and their covariances are float64 either way.
pub trait Real: sealed::Kernel {
    /// Largest ratio of a state's variance to the smallest noise variance that an update allows
    /// ([`State::check_ratio`](super::State::check_ratio)). Beyond it the digits of the smaller are lost in the larger
    /// without any sign of it.
    const LARGEST_RATIO: f64;
}

impl Real for f64 {
    const LARGEST_RATIO: f64 = f64::INFINITY;
}

impl Real for f32 {
    const LARGEST_RATIO: f64 = 1e6;
}

pub(super) mod sealed {
    /// What the kernels ask of a number type.
    pub trait Kernel:
        faer::traits::RealField + Copy + Default + PartialEq + std::ops::AddAssign + std::ops::MulAssign
    {
        /// Name of the type, for messages.
        const NAME: &'static str;
        /// Largest loss of a state's variance in one update, relative to the variance before.
        const LEAST_VARIANCE_RATIO: f64;

        fn of(value: f64) -> Self;
        fn to_f64(self) -> f64;
    }

    impl Kernel for f64 {
        const NAME: &'static str = "float64";
        // Cancellation in P - W Wᵀ leaves fewer than three digits of the result below this.
        const LEAST_VARIANCE_RATIO: f64 = 1e-12;

        fn of(value: f64) -> Self {
            value
        }

        fn to_f64(self) -> f64 {
            self
        }
    }

    impl Kernel for f32 {
        const NAME: &'static str = "float32";
        // Several observations of one state on one date may go below the reciprocal of the largest ratio; below this no
        // digit is left.
        const LEAST_VARIANCE_RATIO: f64 = 1e-7;

        fn of(value: f64) -> Self {
            value as f32
        }

        fn to_f64(self) -> f64 {
            f64::from(self)
        }
    }
}
