"""What tl-curve reads from its TOML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tlmd.run.config import ConfigPath, Section
from tlmd.run.quantities import Count, Frames, Positive, Seed, Steps, Threads

Size = Count | Literal["all"]


class RecipeConfig(Section):
    """A model pretrained on labels of a classical model that is calibrated to the same frames: one for each run."""

    calibrate: ConfigPath = Field(description="TOML of tl-calibrate")
    generate: ConfigPath = Field(description="TOML of tl-generate")
    scale: Positive = Field(description="factor on the number of its frames")
    teach: ConfigPath = Field(description="TOML of tl-finetune; its model is where the method starts from")


class MethodConfig(Section):
    """A method of a learning curve: the TOML of a stage, and keys that are set in it as by --set."""

    stage: Literal["pretrain", "finetune", "mekrr"] = Field(description="command that makes its models")
    config: ConfigPath = Field(description="TOML of the stage; paths in it and in `set` are relative to it")
    set: list[str] = Field([], description='e.g. ["optimizer.lr=1e-3"]')
    set_energies: list[str] = Field([], description='further keys where labels = "energies": its best rates differ')
    few: Frames | Literal[0] = Field(0, description="up to this number of frames ...")
    set_few: list[str] = Field([], description="... further keys, for the same reason")
    steps: Steps | None = Field(None, description="budget of this method; absent: that of all; not for mekrr")
    sizes: list[Size] | None = Field(None, description="those of `sizes` that this method has; absent: all")
    teacher: RecipeConfig | None = Field(None, description="finetune only: where it starts from is made for each run")
    backbone: str | None = Field(
        None, description="mekrr only: the method whose model, of the same frames, labels and seed, gives the features"
    )

    @model_validator(mode="after")
    def _keys_fit_the_stage(self) -> MethodConfig:
        if self.teacher is not None and self.stage != "finetune":
            raise ValueError("stage finetune: a new model does not start from another")
        if self.backbone is not None and self.stage != "mekrr":
            raise ValueError("stage mekrr: other stages have no `backbone`")
        if self.steps is not None and self.stage == "mekrr":
            raise ValueError("no `steps` for stage mekrr: a kernel is solved in one")
        return self


class ConvergeConfig(Section):
    gain: float = Field(
        0.03, ge=0, lt=1, description="smallest relative gain in the validation loss for which the budget is doubled"
    )
    max_steps: Steps = Field(description="longest budget")


class CurveConfig(Section):
    """tl-curve: errors of methods against the number of training frames."""

    out: ConfigPath = Field(Path("curve"), description="folder to write")
    methods: dict[Annotated[str, Field(pattern=r"^[\w.+]+$")], MethodConfig] = Field(
        min_length=1, description="the methods, each under a name of your choice"
    )
    baseline: str | None = Field(None, description="the method that the others are compared with; absent: the first")
    sizes: list[Size] = Field(min_length=1, description="numbers of training frames")
    seeds: list[Seed] = Field([1, 2, 3], min_length=1, description="of frames and weights")
    labels: list[Literal["all", "energies"]] = Field(["all"], min_length=1, description="values of data.labels")
    steps: Steps = Field(description="budget: the same number of steps for every method and size")
    converge: ConvergeConfig | None = Field(None, description="double the budget while the validation loss falls")
    split_by: str | None = Field(None, description="info key: errors on the test frames of each of its values as well")
    search: bool = Field(False, description="sort by validation errors; the test frames are not evaluated")
    measure: Literal["mae", "rmse"] = Field("mae", description="of table and plot; curve.csv has both")
    keep_models: bool = Field(True, description="keep model.pt and checkpoint.pt of each finished run")
    threads: Threads = Field(1, description="of each run")
    jobs: Threads | None = Field(None, description="runs at once; absent: cores / threads")

    @model_validator(mode="after")
    def _baseline_is_a_method(self) -> CurveConfig:
        if self.baseline is not None and self.baseline not in self.methods:
            raise ValueError(f"baseline '{self.baseline}' that is one of the methods: {', '.join(self.methods)}")
        return self

    @model_validator(mode="after")
    def _sizes_are_known(self) -> CurveConfig:
        for name, method in self.methods.items():
            for wanted in (self.sizes, self.sizes_of(method.backbone) if method.backbone in self.methods else []):
                if wanted and (others := [str(size) for size in self.sizes_of(name) if size not in wanted]):
                    whose = "its backbone" if wanted is not self.sizes else "`sizes`"
                    raise ValueError(f"sizes {', '.join(others)} of {name} that are among those of {whose}")
        return self

    @model_validator(mode="after")
    def _backbones_are_trained(self) -> CurveConfig:
        trained = [name for name in self.methods if self.trained(name)]
        for name, method in self.methods.items():
            if method.backbone is not None and method.backbone not in trained:
                raise ValueError(
                    f"backbone '{method.backbone}' of {name} that is one of the trained methods: {', '.join(trained)}"
                )
        return self

    def sizes_of(self, method: str) -> list[Size]:
        """Numbers of training frames of a method."""
        own = self.methods[method].sizes
        return self.sizes if own is None else own

    def trained(self, method: str) -> bool:
        """Whether a method is trained in steps, not solved."""
        return self.methods[method].stage != "mekrr"

    def budget(self, method: str) -> int:
        """The equal budget of a method, in steps; that of its backbone for a kernel, 0 if no method is its backbone."""
        settings = self.methods[method]
        if self.trained(method):
            return settings.steps or self.steps
        return self.budget(settings.backbone) if settings.backbone else 0
