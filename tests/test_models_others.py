"""Audits of torch models that others wrote: how many sites and which p's, counted by hand; all pass."""

import importlib
from collections import Counter

import pytest

import dropstats as ds

torch = pytest.importorskip("torch", reason="torch is not installed")
pytestmark = [
    pytest.mark.framework,
    pytest.mark.usefixtures("seeded_torch"),
    # of these libraries, about themselves
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
]

from torch import nn  # noqa: E402


def counted(report):
    return Counter(round(site.p, 6) for site in report.sites.values())


IDS = torch.arange(48).reshape(4, 12)
SMALL = {"vocab_size": 99, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 64}


def gpt2(hf, **options):
    config = hf.GPT2Config(
        vocab_size=99, n_positions=16, n_embd=32, n_layer=2, n_head=4, embd_pdrop=0.1, attn_pdrop=0.2, resid_pdrop=0.3,
        bos_token_id=0, eos_token_id=0, use_cache=False, **options,
    )  # fmt: skip
    # of the embedding; in each of 2 layers of the attention, after it, after the feed-forward part
    return hf.GPT2LMHeadModel(config), {"input_ids": IDS}, {0.1: 1, 0.2: 2, 0.3: 4}


def bert(hf, **options):
    config = hf.BertConfig(
        **SMALL, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.2, classifier_dropout=0.3, **options
    )
    # of the embedding; in each of 2 layers of the attention, after it, after the feed-forward part; and at the end
    return hf.BertForSequenceClassification(config), {"input_ids": IDS}, {0.1: 5, 0.2: 2, 0.3: 1}


def t5(hf, **options):
    config = hf.T5Config(
        vocab_size=99, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, dropout_rate=0.15,
        decoder_start_token_id=0, use_cache=False, **options,
    )  # fmt: skip
    # Encoder: at its begin and end, in each of 2 layers of the attention, after it, inside and after the feed-forward
    # part. Decoder: the same, and in each layer of the second attention and after it.
    inputs = {"input_ids": IDS, "decoder_input_ids": IDS}
    return hf.T5ForConditionalGeneration(config), inputs, {0.15: (2 + 2 * 4) + (2 + 2 * 6)}


def vit(hf, **options):
    small = {name: value for name, value in SMALL.items() if name != "vocab_size"}
    config = hf.ViTConfig(
        **small, image_size=32, patch_size=8, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.2, **options
    )
    images = torch.randn(4, 3, 32, 32)
    # of the embedding; in each of 2 layers of the attention, after it, after the feed-forward part
    return hf.ViTForImageClassification(config), {"pixel_values": images}, {0.1: 5, 0.2: 2}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("make", [gpt2, bert, t5, vit])
def test_hugging_face(make, attention):
    hf = pytest.importorskip("transformers", reason="transformers is not installed")
    model, inputs, expected = make(hf, attn_implementation=attention)
    report = ds.audit_model(model, inputs, calls=24)
    assert report.passed, str(report)
    assert counted(report) == expected
    assert report["coverage"].verdict == report["gradient"].verdict == report["sites"].verdict == "pass"


@pytest.mark.parametrize("reentrant", [True, False])
def test_hugging_face_with_activation_checkpointing(reentrant):
    hf = pytest.importorskip("transformers", reason="transformers is not installed")
    model, inputs, expected = gpt2(hf)
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    report = ds.audit_model(model, inputs, calls=16)
    assert report.passed, str(report)
    assert counted(report) == expected
    # all but that of the embedding
    assert report["recomputed"].observed == 6


def test_hugging_face_keep_for_drop_is_found():
    hf = pytest.importorskip("transformers", reason="transformers is not installed")
    model, inputs, _ = bert(hf)
    layer = model.bert.encoder.layer[1].output
    layer.dropout = nn.Dropout(0.1)
    layer.dropout.forward = lambda x: nn.functional.dropout(x, 0.9, layer.training)
    report = ds.audit_model(model, inputs, calls=16)
    site = report.sites["bert.encoder.layer.1.output.dropout"]
    assert "keep probability given as p" in site["rate"].message
    assert {name for name, one in report.sites.items() if one.failures} == {"bert.encoder.layer.1.output.dropout"}
    assert report["coverage"].verdict == "fail"


def imported(name):
    """Import timm or torchvision, or skip and say why; timm imports torchvision."""
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{name} cannot be imported: {error}")


def test_timm_vision_transformer():
    timm = imported("timm")
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=5,
        drop_rate=0.1, proj_drop_rate=0.15, attn_drop_rate=0.2, drop_path_rate=0.3,
    )  # fmt: skip
    report = ds.audit_model(model, torch.randn(16, 3, 32, 32), calls=48)
    assert report.passed, str(report)
    # in each of 2 layers of the attention, after it, inside and after the feed-forward part; stochastic depth twice in
    # the second layer, its rate growing from 0; before the classifier
    assert counted(report) == {0.1: 1, 0.15: 6, 0.2: 2, 0.3: 2}


def test_timm_layers():
    layers = imported("timm.layers")
    drops = layers.DropPath(0.2), layers.DropBlock2d(0.1, 5)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), *drops, nn.Flatten(2), layers.PatchDropout(0.5))
    report = ds.audit_model(model, torch.randn(16, 3, 32, 32), calls=48)
    assert report.passed, str(report)
    assert report.sites["1"].p == 0.2
    # the seeds of blocks of 5 x 5, on a map of 30 x 30 of which 26 x 26 hold whole blocks
    assert report.sites["2"].p == pytest.approx(0.1 * 30**2 / 5**2 / 26**2)
    assert list(report.unjudged) == ["4"]
    assert "randn" in report.unjudged["4"]


def test_torchvision_layers():
    operations = imported("torchvision.ops")
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), operations.StochasticDepth(0.2, "row"), operations.DropBlock2d(0.1, 5), nn.ReLU()
    )
    report = ds.audit_model(model, torch.randn(16, 3, 32, 32), calls=48)
    assert report.passed, str(report)
    assert report.sites["1"].p == 0.2
    assert report.sites["2"].p == pytest.approx(0.1 * 30**2 / 5**2 / 26**2)


def steps_of(model, inputs, steps=12):
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        model(**inputs, labels=inputs["input_ids"]).loss.backward()
        optimizer.step()


def test_the_trainer_of_hugging_face_is_watched(tmp_path):
    hf = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    model, _, expected = gpt2(hf)
    data = [{"input_ids": row, "labels": row} for row in torch.randint(0, 99, (64, 12))]
    arguments = hf.TrainingArguments(
        str(tmp_path), max_steps=12, per_device_train_batch_size=4, report_to=[], use_cpu=True, disable_tqdm=True,
        logging_strategy="no", save_strategy="no", gradient_checkpointing=True,
    )  # fmt: skip
    with ds.watch(model) as draws:
        hf.Trainer(model, arguments, train_dataset=data).train()
    report = draws.audit()
    assert report.passed, str(report)
    assert counted(report) == expected
    assert report.passes == 12
    assert report["recomputed"].verdict == "pass"


def test_the_trainer_of_lightning_is_watched(tmp_path):
    lightning = pytest.importorskip("lightning", reason="lightning is not installed")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(16, 64), nn.Dropout(0.2), nn.Linear(64, 4))

        def training_step(self, batch, _):
            return nn.functional.dropout(self.net(batch), 0.1).square().mean()

        def validation_step(self, batch, _):
            self.log("loss", self.net(batch).square().mean())

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 1e-3)

    module = Module()
    loader = torch.utils.data.DataLoader(torch.randn(64, 16), 4)
    trainer = lightning.Trainer(
        max_steps=12, val_check_interval=6, limit_val_batches=2, accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    with ds.watch(module) as draws:
        trainer.fit(module, loader, loader)
    report = draws.audit()
    assert report.passed, str(report)
    assert {name: site.p for name, site in report.sites.items()} == {"net.1": 0.2, "dropout": 0.1}
    assert report.sites["net.1"].draws == report.passes == 12
    assert "training_step" not in vars(module)
    assert report["evaluation"].verdict == "pass"
