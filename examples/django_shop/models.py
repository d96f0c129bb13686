"""What the shop keeps."""

from django.db import models


class Order(models.Model):
    customer = models.CharField(max_length=100)
    run = models.CharField(max_length=40)
    status = models.CharField(max_length=20, default="placed")
