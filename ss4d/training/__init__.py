"""SS4D's training: one loop for all networks, one task a network family.

    python -m ss4d.training structure_vae --config tiny --data DIR --val DIR --out RUN

config.py         the sections of ss4d/configs/<size>.json: networks, training, weights of the losses
task.py           what the loop asks of a network family, and the random numbers it hands out
structure_vae.py  occupancy -> latent -> occupancy
latent_vae.py     voxel features -> structured latent -> Gaussians -> pictures
flow.py           what both flows share: times, noise, conditions, sampling
structure_flow.py condition clips -> structure latents, with the image encoder
latent_flow.py    condition clips and voxels -> structured latents
losses.py         every term, by itself; lpips.py the perceptual one
order.py          which clips make which step: a pure function of the seed and the step
optim.py          learning rate, moving average, clipping of gradients
trainer.py        the loop; prefetch.py prepares the next step meanwhile
state.py          checkpoints of a run, from which it goes on exactly; runlog.py what it writes for people
evaluate.py       the figures a trained autoencoder is accepted by; export.py networks as ss4d.checkpoint reads them
assemble.py       autoencoders and flows -> one checkpoint for the pipeline
"""
