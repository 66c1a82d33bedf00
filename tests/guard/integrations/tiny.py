"""Pipelines of diffusers with tiny random weights, built from nothing but configurations."""

from __future__ import annotations

from typing import Any

import diffusers
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel

SIDE = 64
"""Pixels of the sides of what is made."""
END = "<|endoftext|>"


def tokenizer() -> CLIPTokenizer:
    """Reads letter by letter."""
    letters = [chr(code) for code in range(97, 123)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", END]
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def text_encoder() -> CLIPTextModel:
    torch.manual_seed(0)
    return CLIPTextModel(
        CLIPTextConfig(
            bos_token_id=52,
            eos_token_id=53,
            pad_token_id=53,
            hidden_size=32,
            intermediate_size=37,
            num_attention_heads=4,
            num_hidden_layers=2,
            projection_dim=32,
            vocab_size=54,
        )
    ).eval()


def vae(channels: int = 4, halvings: int = 1, **more: Any) -> diffusers.AutoencoderKL:
    torch.manual_seed(0)
    return diffusers.AutoencoderKL(
        block_out_channels=(32,) * (halvings + 1),
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * (halvings + 1),
        up_block_types=("UpDecoderBlock2D",) * (halvings + 1),
        latent_channels=channels,
        norm_num_groups=32,
        **more,
    ).eval()


def unet(channels: int = 4) -> diffusers.UNet2DConditionModel:
    torch.manual_seed(0)
    return diffusers.UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=SIDE // 2,
        in_channels=channels,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
    ).eval()


def stable_diffusion(
    kind: str = "StableDiffusionPipeline", channels: int = 4, halvings: int = 1
) -> Any:
    """Any pipeline of the Stable Diffusion family that takes these parts."""
    pipeline = getattr(diffusers, kind)(
        vae=vae(halvings=halvings),
        text_encoder=text_encoder(),
        tokenizer=tokenizer(),
        unet=unet(channels),
        scheduler=diffusers.DDIMScheduler(
            beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def flux(kind: str = "FluxPipeline") -> Any:
    """A pipeline around a transformer, with two text encoders."""
    torch.manual_seed(0)
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=[4, 4, 8],
    ).eval()
    second = T5Config(vocab_size=54, d_model=32, d_ff=37, num_heads=4, num_layers=1, d_kv=8)
    pipeline = getattr(diffusers, kind)(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=vae(1, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.0),
        text_encoder=text_encoder(),
        tokenizer=tokenizer(),
        text_encoder_2=T5EncoderModel(second).eval(),
        tokenizer_2=tokenizer(),
        transformer=transformer,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
