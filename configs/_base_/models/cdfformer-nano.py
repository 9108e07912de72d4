# A CDFFormer of less than a million parameters, for the demo; not a
# published variant.
nano = dict(embed_dims=[32, 64, 96, 128], depths=[1, 2, 3, 1])
