"""Teach a small model to sort customers' questions: the answer is the name of one of ten intents."""

from arkor import LocalDataset, LoraConfig, create_trainer

trainer = create_trainer(
    name="labels",
    model="smollm2-135m",
    dataset=LocalDataset("data/questions.csv", columns={"question": "prompt", "intent": "completion"}),
    dataset_split={"eval_fraction": 0.2, "seed": 42},  # 80 of the 400 questions, seven to nine of each intent
    lora=LoraConfig(r=8, alpha=16),
    max_steps=80,  # of 8 rows: each of the 320 others twice
    batch_size=8,
    learning_rate=1e-3,
    warmup_steps=5,
    logging_steps=10,
    save_steps=40,
)
