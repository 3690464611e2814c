//! Codecs that decode no more than a chunk can hold: what a damaged chunk declares is compared before memory is taken.

use std::any::Any;
use std::borrow::Cow;
use std::io::Read;
use std::sync::{Arc, Once};

use flate2::bufread::{GzDecoder, ZlibDecoder};
use zarrs::array::codec::api::{
    BytesToBytesCodecTraits, Codec, CodecError, CodecMetadataOptions, CodecOptions, CodecRuntimePluginV2,
    CodecRuntimePluginV3, CodecTraits, CodecTraitsV2, CodecTraitsV3, PartialDecoderCapability,
    PartialEncoderCapability, RecommendedConcurrency, register_codec_v2, register_codec_v3,
};
use zarrs::array::codec::{BloscCodec, GzipCodec, ZlibCodec, ZstdCodec};
use zarrs::array::{ArrayBytesRaw, BytesRepresentation};
use zarrs::metadata::Configuration;
use zarrs::plugin::{ExtensionAliases, ExtensionName, PluginCreateError, ZarrVersion, ZarrVersion2, ZarrVersion3};
use zstd::zstd_safe;

/// Most bytes of a chunk of texts, whose size does not follow from its shape.
const MOST_TEXT: u64 = 64 << 20;

/// Byte of a Blosc header at which the decoded size begins: a little-endian number of 32 bits.
const BLOSC_SIZE: std::ops::Range<usize> = 4..8;

/// How a codec compresses.
#[derive(Clone, Copy, Debug)]
enum Format {
    Zstd,
    Blosc,
    Gzip,
    Zlib,
}

/// A codec of zarrs that refuses to decode more than the chunk can hold.
#[derive(Debug)]
struct Bounded {
    codec: Arc<dyn BytesToBytesCodecTraits>,
    format: Format,
}

/// Makes all arrays that this process opens from now on decode no more than their chunks can hold.
///
/// The codecs take the place of those of the same names, in the registry of zarrs that all its users share: whatever
/// can be decoded is decoded as before.
pub(crate) fn bound_codecs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        bound::<ZstdCodec>(Format::Zstd);
        bound::<BloscCodec>(Format::Blosc);
        bound::<GzipCodec>(Format::Gzip);
        bound::<ZlibCodec>(Format::Zlib);
    });
}

/// Registers a codec for both versions of Zarr.
fn bound<C>(format: Format)
where
    C: CodecTraitsV2 + CodecTraitsV3 + ExtensionAliases<ZarrVersion2> + ExtensionAliases<ZarrVersion3>,
{
    let bounded = move |codec: Codec| match codec {
        Codec::BytesToBytes(codec) => Codec::BytesToBytes(Arc::new(Bounded { codec, format })),
        other => other,
    };
    register_codec_v3(CodecRuntimePluginV3::new(
        |name| <C as ExtensionAliases<ZarrVersion3>>::matches_name(name),
        move |metadata| -> Result<Codec, PluginCreateError> { <C as CodecTraitsV3>::create(metadata).map(bounded) },
    ));
    register_codec_v2(CodecRuntimePluginV2::new(
        |name| <C as ExtensionAliases<ZarrVersion2>>::matches_name(name),
        move |metadata| -> Result<Codec, PluginCreateError> { <C as CodecTraitsV2>::create(metadata).map(bounded) },
    ));
}

impl Bounded {
    fn too_large(limit: u64, declared: Option<u64>) -> CodecError {
        let declared = declared.map_or_else(|| "more".into(), |declared| format!("{declared} bytes"));
        CodecError::Other(format!("the chunk declares {declared}, and its array has room for {limit} in it"))
    }

    /// Decodes step by step, so that no more than `limit` bytes are ever held.
    fn step_by_step(decoder: impl Read, limit: u64) -> Result<Vec<u8>, CodecError> {
        let mut bytes = Vec::new();
        decoder.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit { Err(Self::too_large(limit, None)) } else { Ok(bytes) }
    }

    /// What zstd decodes step by step: frames that do not say how large they are. `None` where they are small enough
    /// to be decoded at once.
    fn zstd(encoded: &[u8], limit: u64) -> Result<Option<Vec<u8>>, CodecError> {
        if let Ok(Some(declared)) = zstd_safe::get_frame_content_size(encoded)
            && declared > limit
        {
            return Err(Self::too_large(limit, Some(declared)));
        }
        // Of all frames together; of a damaged one it is unknown.
        if zstd_safe::decompress_bound(encoded).is_ok_and(|bound| bound <= limit) {
            return Ok(None);
        }
        Self::step_by_step(zstd::Decoder::with_buffer(encoded)?, limit).map(Some)
    }
}

impl ExtensionName for Bounded {
    fn name(&self, version: ZarrVersion) -> Option<Cow<'static, str>> {
        self.codec.name(version)
    }
}

impl CodecTraits for Bounded {
    fn as_any(&self) -> &dyn Any {
        self.codec.as_any()
    }

    fn configuration(&self, version: ZarrVersion, options: &CodecMetadataOptions) -> Option<Configuration> {
        self.codec.configuration(version, options)
    }

    fn partial_decoder_capability(&self) -> PartialDecoderCapability {
        // A part is cut from the whole chunk, which is checked.
        PartialDecoderCapability { partial_read: false, partial_decode: false }
    }

    fn partial_encoder_capability(&self) -> PartialEncoderCapability {
        self.codec.partial_encoder_capability()
    }
}

impl BytesToBytesCodecTraits for Bounded {
    fn into_dyn(self: Arc<Self>) -> Arc<dyn BytesToBytesCodecTraits> {
        self
    }

    fn recommended_concurrency(&self, decoded: &BytesRepresentation) -> Result<RecommendedConcurrency, CodecError> {
        self.codec.recommended_concurrency(decoded)
    }

    fn encoded_representation(&self, decoded: &BytesRepresentation) -> BytesRepresentation {
        self.codec.encoded_representation(decoded)
    }

    fn encode<'a>(&self, decoded: ArrayBytesRaw<'a>, options: &CodecOptions) -> Result<ArrayBytesRaw<'a>, CodecError> {
        self.codec.encode(decoded, options)
    }

    fn decode<'a>(
        &self,
        encoded: ArrayBytesRaw<'a>,
        decoded: &BytesRepresentation,
        options: &CodecOptions,
    ) -> Result<ArrayBytesRaw<'a>, CodecError> {
        let limit = decoded.size().unwrap_or(MOST_TEXT);
        let bytes = match self.format {
            Format::Gzip => Some(Self::step_by_step(GzDecoder::new(&*encoded), limit)?),
            Format::Zlib => Some(Self::step_by_step(ZlibDecoder::new(&*encoded), limit)?),
            Format::Zstd => Self::zstd(&encoded, limit)?,
            Format::Blosc => {
                let size = encoded.get(BLOSC_SIZE).and_then(|bytes| Some(u32::from_le_bytes(bytes.try_into().ok()?)));
                if let Some(declared) = size.map(u64::from).filter(|declared| *declared > limit) {
                    return Err(Self::too_large(limit, Some(declared)));
                }
                None
            }
        };
        match bytes {
            Some(bytes) => Ok(Cow::Owned(bytes)),
            None => self.codec.decode(encoded, decoded, options),
        }
    }
}
