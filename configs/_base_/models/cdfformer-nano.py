# A CDFFormer with less than a million parameters, for the demo. It is not a
# published variant.
nano = dict(embed_dims=[24, 48, 96, 128], depths=[1, 1, 3, 1])
