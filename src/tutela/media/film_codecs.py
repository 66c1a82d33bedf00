"""The demuxers and decoders that may run, as libavformat and libavcodec name them.

Others are unsupported, those above all that read further files: playlists, lists, scripts.
"""

from __future__ import annotations

DEMUXERS = {"mpegps": "mpeg"} | {
    name: name
    for name in (
        *("mp4", "matroska", "avi", "mpegts", "flv", "asf", "ogg"),
        *("mp3", "aac", "wav", "flac", "aiff", "caf", "amr"),
    )
}
"""By the container that `sniff.container` names."""

PICTURES = frozenset(
    (
        *("h264", "hevc", "vp8", "vp9", "libdav1d", "theora", "mpeg1video", "mpeg2video", "mpeg4"),
        *("msmpeg4v1", "msmpeg4v2", "msmpeg4", "wmv1", "wmv2", "wmv3", "vc1", "h263", "h263p"),
        *("flv", "vp6", "vp6f", "mjpeg", "png", "prores", "dvvideo", "ffv1", "svq3", "cinepak"),
    )
)

SOUNDS = frozenset(
    (
        *("aac", "aac_latm", "mp3", "mp3float", "mp2", "mp2float", "mp1", "mp1float", "opus"),
        *("libopus", "vorbis", "flac", "alac", "ac3", "eac3", "dca", "wmav1", "wmav2", "wmapro"),
        *("amrnb", "amrwb", "libopencore_amrnb", "libopencore_amrwb", "nellymoser", "speex"),
        *("gsm", "gsm_ms", "adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt", "adpcm_swf", "pcm_alaw"),
        *("pcm_mulaw", "pcm_u8", "pcm_s8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be"),
        *("pcm_s32le", "pcm_s32be", "pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be"),
        *("pcm_bluray", "pcm_dvd"),
    )
)

PLANAR = frozenset(
    (
        *("yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuv410p", "nv12", "nv21"),
        *("yuvj420p", "yuvj422p", "yuvj444p", "yuvj440p", "yuva420p", "yuva422p", "yuva444p"),
        "gray",
    )
)
"""Forms of a frame whose first plane is luma, a byte a pixel."""
